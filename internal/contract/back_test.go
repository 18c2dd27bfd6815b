package contract_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

func TestTheWayBackExchangesTheEnds(t *testing.T) {
	b := fullest.Back("wal2json")
	require.Equal(t, "shop-back", b.Name)
	require.True(t, b.IsBack())
	require.False(t, fullest.IsBack())
	require.Equal(t, "shop", b.Migration())
	require.Equal(t, fullest.Target, b.Source.Endpoint)
	require.Equal(t, fullest.Source.RDS, b.Source.RDS, "AWS is asked in the same region")
	require.Equal(t, fullest.Source.Endpoint, b.Target)
	require.Equal(t, "wal2json", b.Replication.Plugin)
	require.Empty(t, b.Hypertables)
	require.False(t, b.Cutover.Reverse)
	require.Equal(t, contract.Address{Host: "10.0.0.8", Port: 5432, Database: "shop"}, b.SwitchTarget(), "where a rollback leads the application")
	require.Equal(t, contract.Address{Host: "10.0.0.9", Port: 5433, Database: "tsdb"}, fullest.SwitchTarget(), "it is left as it was")
	for table, moves := range map[string]bool{"public.orders": true, "public.audit_log": false, "timeferry.tables": false, "_timescaledb_internal._hyper_1_1_chunk": false} {
		name, ok := ident.ParseTable(table)
		require.True(t, ok)
		wide := fullest
		wide.Tables.Include = []string{"*.*"}
		require.Equal(t, moves, wide.Back("wal2json").Tables.Moves(name), table)
	}
	require.Equal(t, []string{"public.audit_*"}, fullest.Tables.Exclude)
}

func TestWithoutASwitchThereIsNoneOnTheWayBack(t *testing.T) {
	plain := fullest
	plain.Cutover.Switch = nil
	require.Nil(t, plain.Back("pgoutput").Cutover.Switch)
	require.Equal(t, contract.Address{Host: fullest.Source.Host, Port: 5432, Database: "shop"}, plain.Back("pgoutput").SwitchTarget())
}
