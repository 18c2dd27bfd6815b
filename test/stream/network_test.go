package stream

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/netproxy"
)

// networked is a world whose pipeline reaches both of its servers over networks that misbehave.
type networked struct {
	*victim
	source, target *netproxy.Proxy
	random         *rand.Rand
}

// silence is short here: the test waits for it.
const silence = time.Second

func newNetworked(t *testing.T) *networked {
	t.Helper()
	seed := firstSeed(t)
	n := &networked{victim: newVictim(t, seed, jsonSource), random: rand.New(rand.NewPCG(seed, 3))}
	n.config.BatchChanges, n.config.SegmentBytes, n.config.Silence = 500, 256<<10, silence
	n.source, n.config.Source = netproxy.To(t, n.config.Source)
	n.target, n.config.Target = netproxy.To(t, n.config.Target)
	return n
}

// combined runs a case with a combination of its own.
func (n *networked) combined(t *testing.T, name string, lanes int, do func(*testing.T)) {
	t.Run(name, func(t *testing.T) {
		require.NoError(t, n.player.settle())
		n.config.combination = combine(by(n.random))
		n.config.Lanes = lanes
		t.Log(n.config.combination)
		require.NoError(t, n.renew())
		require.NoError(t, n.barrier()) // receiver and apply are connected
		do(t)
	})
}

// equal waits until the target has everything, and compares.
func (n *networked) equal(t *testing.T) {
	t.Helper()
	require.NoError(t, n.player.settle())
	require.NoError(t, n.barrier())
	require.NoError(t, n.same())
}

func (n *networked) either() *netproxy.Proxy {
	if n.random.IntN(2) == 0 {
		return n.source
	}
	return n.target
}

// Whatever the network between the worker and either server does, source and target are equal afterwards.
func TestNetwork(t *testing.T) {
	n := newNetworked(t)
	n.combined(t, "cut now and then", 1, n.cuts)
	n.combined(t, "cut inside of messages", 1, n.cutsInside)
	n.combined(t, "slow, and in small pieces", 1, n.slow)
	n.combined(t, "narrow", 1, n.narrow)
	n.combined(t, "source silent", 1, func(t *testing.T) { n.silent(t, n.source) })
	n.combined(t, "target silent", 1, func(t *testing.T) { n.silent(t, n.target) })
	n.combined(t, "target silent inside of a transaction", 1, n.silentInside)
}

// TestNetworkOfLanes loses the connections to the target while several apply at the same time.
func TestNetworkOfLanes(t *testing.T) {
	n := newNetworked(t)
	n.combined(t, "cut now and then", 3, n.cuts)
	n.combined(t, "cut inside of messages", 2, n.cutsInside)
	n.combined(t, "slow, and in small pieces", 3, n.slow)
	n.combined(t, "target silent", 3, func(t *testing.T) {
		for range 3 {
			require.NoError(t, n.write(30))
			n.target.Silence()
			began := time.Now()
			require.NoError(t, n.write(30))
			n.equal(t)
			require.Less(t, time.Since(began), 45*silence, "the servers' own keepalives take longer")
		}
	})
}

func (n *networked) cuts(t *testing.T) {
	for range 8 {
		require.NoError(t, n.write(40))
		side := n.either()
		side.Cut()
		require.NoError(t, n.write(20))
		side.Mend()
	}
	n.equal(t)
}

func (n *networked) cutsInside(t *testing.T) {
	for range 6 {
		side := n.either()
		side.CutAfter(2000 + n.random.IntN(30_000))
		require.NoError(t, n.write(150))
		side.Calm()
	}
	n.equal(t)
}

func (n *networked) slow(t *testing.T) {
	for _, side := range []*netproxy.Proxy{n.source, n.target} {
		side.Slow(20*time.Millisecond, 20*time.Millisecond)
	}
	n.source.Slice(1000)
	require.NoError(t, n.write(200))
	n.equal(t)
	n.source.Calm()
	n.target.Calm()
}

// narrow has a transaction that takes many times the silence to come through: that is no silence.
func (n *networked) narrow(t *testing.T) {
	const working = " AND (backend_type = 'walsender' OR application_name = 'timeferry apply')" // not what is asked beside the stream
	before := n.sessionsOf(t, working)
	for _, side := range []*netproxy.Proxy{n.source, n.target} {
		side.Narrow(300)
	}
	_, err := n.onSource.Exec(t.Context(), "INSERT INTO kept SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, 10000) i")
	require.NoError(t, err)
	n.equal(t)
	n.source.Calm()
	n.target.Calm()
	require.Equal(t, before, n.sessionsOf(t, working), "the sessions are those from before")
}

// sessionsOf names the sessions of receiver and apply.
func (n *networked) sessionsOf(t *testing.T, condition string) (all []string) {
	t.Helper()
	sql := "SELECT application_name || ' ' || pid FROM pg_stat_activity WHERE application_name IN ('timeferry receiver', 'timeferry apply')" + condition + " ORDER BY 1"
	for _, conn := range []func(context.Context) ([]string, error){
		func(context.Context) ([]string, error) { return queryStrings(n.onSource, sql) },
		func(context.Context) ([]string, error) { return queryStrings(n.onTarget, sql) },
	} {
		list, err := conn(t.Context())
		require.NoError(t, err)
		all = append(all, list...)
	}
	return all
}

// silent loses what is on its way, and everything after that, without an end of the connection. It is noticed, the session that
// was left behind on the server is ended, and a new connection goes on.
func (n *networked) silent(t *testing.T, side *netproxy.Proxy) {
	for range 3 {
		require.NoError(t, n.write(30))
		side.Silence()
		began := time.Now()
		require.NoError(t, n.write(30))
		n.equal(t)
		require.Less(t, time.Since(began), 45*silence, "the servers' own keepalives take longer")
	}
	require.Eventually(t, func() bool { return len(n.sessionsOf(t, "")) == 2 }, 45*silence, 50*time.Millisecond, "none was left behind")
}

// silentInside leaves a transaction open on the target, with the ledger's row locked.
func (n *networked) silentInside(t *testing.T) {
	rows := 100_000
	if n.config.Direct { // which receives all of it again after each silence
		rows /= 2
	}
	_, err := n.onSource.Exec(t.Context(), "INSERT INTO kept SELECT i, repeat(md5(i::text), 4) FROM generate_series(1, $1) i", rows)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		list, err := queryStrings(n.onTarget, "SELECT 1::text FROM pg_stat_activity WHERE application_name = 'timeferry apply' AND xact_start < clock_timestamp() - interval '200 milliseconds'")
		return err == nil && len(list) > 0
	}, 30*time.Second, time.Millisecond)
	n.silent(t, n.target)
}
