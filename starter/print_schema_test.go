package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestPrintSchemaChanges(t *testing.T) {
	var out bytes.Buffer
	printSchemaChanges(&out, nil)
	require.Empty(t, out.String())
	printSchemaChanges(&out, []contract.SchemaChange{{Table: "public.t", What: `column "c" (integer) was added`, Statement: `ALTER TABLE "public"."t" ADD COLUMN "c" integer`,
		At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}})
	require.Equal(t, "\nChanges of the source's schema that were carried over\n  2026-01-02 03:04:05  public.t: column \"c\" (integer) was added\n    ALTER TABLE \"public\".\"t\" ADD COLUMN \"c\" integer\n", out.String())
}
