package sealed_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/sealed"
)

func TestOnlyTheOwnerReadsIt(t *testing.T) {
	key, err := sealed.NewKey()
	require.NoError(t, err)
	other, err := sealed.NewKey()
	require.NoError(t, err)
	box, err := sealed.Seal(key.Public(), []string{"secret value"})
	require.NoError(t, err)
	require.False(t, bytes.Contains(box, []byte("secret")))
	var got []string
	require.NoError(t, key.Open(box, &got))
	require.Equal(t, []string{"secret value"}, got)
	require.Error(t, other.Open(box, &got))
	box[len(box)-1] ^= 1
	require.Error(t, key.Open(box, &got), "tampered with")
	_, err = sealed.Seal([]byte("no key"), 1)
	require.Error(t, err)
}
