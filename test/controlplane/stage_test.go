package controlplane

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/testkit/pgtest"
)

// Names that the scenarios share.
const (
	migrationName = "ferry"
	instanceID    = "shop"
	clusterID     = "shops"
	groupName     = "shop-timeferry" // what the migration calls its group
	otherGroup    = "shop-tuned"     // a group that somebody made
	securityGroup = "sg-0123456789abcdef0"
)

// states last long enough that a call which is tried again soon still meets the state that the first one caused.
var states = awssim.Timings{Modifying: 120 * time.Millisecond, Applying: 60 * time.Millisecond, BeforeReboot: 120 * time.Millisecond,
	Rebooting: 150 * time.Millisecond, Rotating: 100 * time.Millisecond}

// longStates have a reboot last longer than the lag, as at AWS, where it is half a minute at the least.
var longStates = awssim.Timings{Modifying: 120 * time.Millisecond, Applying: 60 * time.Millisecond, BeforeReboot: 120 * time.Millisecond,
	Rebooting: 2500 * time.Millisecond, Rotating: 100 * time.Millisecond}

// conditions are how AWS treats everybody, as a table of scenarios is run under them.
type conditions struct {
	poll    time.Duration // how often the worker asks
	backoff time.Duration // at most, between attempts of one call
	lag     time.Duration // until everybody sees a change
	states  awssim.Timings
	faults  []awssim.Fault
}

var (
	undisturbed = conditions{poll: 20 * time.Millisecond, backoff: 50 * time.Millisecond, states: states}
	// slow has the read-after-write lag in the proportion to the poll interval that there is in production at the worst.
	slow = conditions{poll: 450 * time.Millisecond, backoff: 50 * time.Millisecond, lag: time.Second, states: longStates,
		faults: []awssim.Fault{{Kind: awssim.Throttle, Percent: 30}, {Kind: awssim.ReadLag, For: time.Second}}}
)

// stage is where one scenario plays: an account of its own at the simulator, with a machine.
type stage struct {
	conditions
	*machine
	region string
	sim    *awssim.Simulator
	api    *rds.Client // past everything that disturbs the worker
	first  int         // of the calls in the simulator's log that the migration made
	made   []awssim.Call

	workers workers
	death   *death            // nil: nobody dies
	onCall  map[string]func() // what happens at AWS when the action, there is at most one, is first called
	once    sync.Once
}

var regionNumber atomic.Int32

func newStage(t *testing.T, m *machine, c conditions) *stage {
	t.Helper()
	s := &stage{conditions: c, machine: m, region: fmt.Sprintf("xx-test-%d", regionNumber.Add(1))}
	s.sim = awssim.New(awssim.Options{Region: s.region, Timings: c.states})
	t.Cleanup(s.sim.Close)
	accounts.add(s.region, http.HandlerFunc(s.serve))
	t.Cleanup(func() { accounts.remove(s.region) })
	s.api = rds.New(rds.Options{Region: s.region, BaseEndpoint: aws.String("http://simulator"),
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff, o.RateLimiter = forever, time.Millisecond, ratelimit.None
		}),
		Credentials: credentials.NewStaticCredentialsProvider("AKIDTEST", "example", ""), HTTPClient: &http.Client{Transport: direct{s.sim}}})
	return s
}

// record keeps the migration's calls and ends what disturbs, so that the state can be read. What an instance was forced into
// is part of the state.
func (s *stage) record(sc scenario) {
	s.made = s.sim.Log()[s.first:]
	s.sim.Reset()
	for _, f := range sc.faults {
		if f.Kind == awssim.ForceStatus {
			s.sim.Inject(f)
		}
	}
}

// direct calls a handler without a network.
type direct struct{ http.Handler }

func (d direct) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	d.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

// instance makes the instance that is to be migrated, of PostgreSQL 15 unless config says otherwise.
func (s *stage) instance(config awssim.InstanceConfig) {
	if config.EngineVersion == "" {
		config.EngineVersion = "15.12"
	}
	config.ID, config.MasterUser, config.Host, config.Port = instanceID, pgtest.SourceMaster, s.source.Server.Host(), s.source.Server.Port()
	config.SecurityGroup, config.Server = securityGroup, s.machine
	s.sim.AddInstance(config)
}

func (s *stage) cluster(config awssim.ClusterConfig) {
	if config.EngineVersion == "" {
		config.EngineVersion = "15.4"
	}
	config.ID, config.MasterUser, config.Host, config.Port = clusterID, pgtest.SourceMaster, s.source.Server.Host(), s.source.Server.Port()
	config.SecurityGroup, config.Server = securityGroup, s.machine
	s.sim.AddCluster(config)
}

// backingUp lets the instance or cluster be backed up until some time after the group is made.
func (s *stage) backingUp(id, createGroup string) {
	s.sim.Inject(awssim.Fault{Kind: awssim.ForceStatus, Instance: id, Code: "backing-up"})
	s.onCall = map[string]func(){createGroup: func() {
		time.AfterFunc(briefly, func() { s.sim.Inject(awssim.Fault{Kind: awssim.ForceStatus, Instance: id, Code: "available"}) })
	}}
}

// group makes a parameter group with values that people set. owner names the migration whose tag it carries, if any.
func (s *stage) group(t *testing.T, name, family, owner string, values map[string]string) {
	t.Helper()
	_, err := s.api.CreateDBParameterGroup(t.Context(), &rds.CreateDBParameterGroupInput{DBParameterGroupName: &name,
		DBParameterGroupFamily: &family, Description: aws.String("made by hand"), Tags: ownerTags(owner)})
	require.NoError(t, err)
	for parameter, value := range values {
		s.set(t, name, parameter, value)
	}
}

func (s *stage) set(t *testing.T, group, parameter, value string) {
	t.Helper()
	_, err := s.api.ModifyDBParameterGroup(t.Context(), &rds.ModifyDBParameterGroupInput{DBParameterGroupName: &group,
		Parameters: []types.Parameter{{ParameterName: &parameter, ParameterValue: &value, ApplyMethod: types.ApplyMethodPendingReboot}}})
	require.NoError(t, err)
}

func (s *stage) clusterGroup(t *testing.T, name, family, owner string, values map[string]string) {
	t.Helper()
	_, err := s.api.CreateDBClusterParameterGroup(t.Context(), &rds.CreateDBClusterParameterGroupInput{DBClusterParameterGroupName: &name,
		DBParameterGroupFamily: &family, Description: aws.String("made by hand"), Tags: ownerTags(owner)})
	require.NoError(t, err)
	for parameter, value := range values {
		_, err := s.api.ModifyDBClusterParameterGroup(t.Context(), &rds.ModifyDBClusterParameterGroupInput{DBClusterParameterGroupName: &name,
			Parameters: []types.Parameter{{ParameterName: &parameter, ParameterValue: &value, ApplyMethod: types.ApplyMethodPendingReboot}}})
		require.NoError(t, err)
	}
}

func ownerTags(owner string) []types.Tag {
	if owner == "" {
		return nil
	}
	return []types.Tag{{Key: aws.String("timeferry:migration"), Value: &owner}}
}

// spec is the order, with what the scenario says of prepare, of source.rds, and of the source's password.
func (s *stage) spec(t *testing.T, sc scenario) json.RawMessage {
	t.Helper()
	where := map[string]any{"instance": instanceID, "region": s.region}
	if sc.cluster {
		where = map[string]any{"cluster": clusterID, "region": s.region}
	}
	if sc.instance != "" {
		where["instance"] = sc.instance
	}
	prepare := map[string]any{"reboot": "auto"}
	for key, value := range sc.prepare {
		prepare[key] = value
	}
	var password any = map[string]any{"env": s.sourceEnv}
	if sc.password != nil {
		password = sc.password(s)
	}
	copyOptions := map[string]any{}
	if sc.backOff != nil {
		copyOptions["backOff"] = sc.backOff
	}
	text, err := json.Marshal(map[string]any{"name": migrationName, "copy": copyOptions,
		"source": map[string]any{"rds": where, "database": s.source.Master.Database, "user": pgtest.SourceMaster, "password": password, "sslMode": "disable"},
		"target": map[string]any{"host": s.target.Master.Host, "port": s.target.Master.Port, "database": s.target.Master.Database, "user": pgtest.TargetMaster,
			"password": map[string]any{"env": s.targetEnv}, "sslMode": "disable"},
		"prepare": prepare})
	require.NoError(t, err)
	return text
}
