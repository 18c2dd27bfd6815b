package controlplane

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

// state is everything that a migration may have changed, one fact a line.
func (s *stage) state(t *testing.T) []string {
	t.Helper()
	lines := append(s.databases(t), s.groups(t)...)
	lines = append(lines, s.clusterGroups(t)...)
	for _, r := range s.sim.Ingress(securityGroup) {
		lines = append(lines, fmt.Sprintf("rule: %s %q", r, r.Description))
	}
	return append(lines, fmt.Sprintf("server: wal_level %s, restarted %d times", s.setting(t, "wal_level"), s.restarted()))
}

func (s *stage) databases(t *testing.T) []string {
	t.Helper()
	var lines []string
	clusters, err := s.api.DescribeDBClusters(t.Context(), &rds.DescribeDBClustersInput{})
	require.NoError(t, err)
	for _, c := range clusters.DBClusters {
		var members []string
		for _, m := range c.DBClusterMembers {
			members = append(members, *m.DBInstanceIdentifier+" "+*m.DBClusterParameterGroupStatus)
		}
		lines = append(lines, fmt.Sprintf("cluster %s: %s, group %s, members %s", *c.DBClusterIdentifier, *c.Status, *c.DBClusterParameterGroup, strings.Join(members, ", ")))
	}
	instances, err := s.api.DescribeDBInstances(t.Context(), &rds.DescribeDBInstancesInput{})
	require.NoError(t, err)
	for _, in := range instances.DBInstances {
		g := in.DBParameterGroups[0]
		line := fmt.Sprintf("instance %s: %s, group %s %s", *in.DBInstanceIdentifier, *in.DBInstanceStatus, *g.DBParameterGroupName, *g.ParameterApplyStatus)
		if p := in.PendingModifiedValues; p != nil && p.DBInstanceClass != nil {
			line += ", pending class " + *p.DBInstanceClass
		}
		lines = append(lines, line)
	}
	return lines
}

// groups are those that people or we made, with the values set in them.
func (s *stage) groups(t *testing.T) []string {
	t.Helper()
	var lines []string
	all, err := s.api.DescribeDBParameterGroups(t.Context(), &rds.DescribeDBParameterGroupsInput{})
	require.NoError(t, err)
	for _, g := range all.DBParameterGroups {
		if strings.HasPrefix(*g.DBParameterGroupName, "default.") {
			continue
		}
		var values []types.Parameter
		pages := rds.NewDescribeDBParametersPaginator(s.api, &rds.DescribeDBParametersInput{DBParameterGroupName: g.DBParameterGroupName, Source: aws.String("user")})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			require.NoError(t, err)
			values = append(values, page.Parameters...)
		}
		lines = append(lines, s.groupLine(t, "group", *g.DBParameterGroupName, *g.DBParameterGroupFamily, *g.DBParameterGroupArn, values))
	}
	return lines
}

func (s *stage) clusterGroups(t *testing.T) []string {
	t.Helper()
	var lines []string
	all, err := s.api.DescribeDBClusterParameterGroups(t.Context(), &rds.DescribeDBClusterParameterGroupsInput{})
	require.NoError(t, err)
	for _, g := range all.DBClusterParameterGroups {
		if strings.HasPrefix(*g.DBClusterParameterGroupName, "default.") {
			continue
		}
		var values []types.Parameter
		pages := rds.NewDescribeDBClusterParametersPaginator(s.api, &rds.DescribeDBClusterParametersInput{
			DBClusterParameterGroupName: g.DBClusterParameterGroupName, Source: aws.String("user")})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			require.NoError(t, err)
			values = append(values, page.Parameters...)
		}
		lines = append(lines, s.groupLine(t, "cluster group", *g.DBClusterParameterGroupName, *g.DBParameterGroupFamily, *g.DBClusterParameterGroupArn, values))
	}
	return lines
}

func (s *stage) groupLine(t *testing.T, kind, name, family, arn string, values []types.Parameter) string {
	t.Helper()
	tags, err := s.api.ListTagsForResource(t.Context(), &rds.ListTagsForResourceInput{ResourceName: &arn})
	require.NoError(t, err)
	line := fmt.Sprintf("%s %s of family %s:", kind, name, family)
	for _, tag := range tags.TagList {
		line += fmt.Sprintf(" [%s=%s]", *tag.Key, *tag.Value)
	}
	for _, v := range values {
		line += fmt.Sprintf(" %s=%s", *v.ParameterName, *v.ParameterValue)
	}
	return line
}

// calls are the migration's calls, in order. Polling is told once: a repetition of the same reads, and of changes that a busy
// database refuses, is left out.
func (s *stage) calls() []string {
	var out []string
	for _, c := range s.made {
		out = append(out, s.callLine(c))
		for size := 1; size <= 3; size++ {
			if n := len(out); n >= 2*size && slices.Equal(out[n-size:], out[n-2*size:n-size]) && !slices.ContainsFunc(out[n-size:], tookEffect) {
				out = out[:n-size]
				break
			}
		}
	}
	return out
}

// effects are the calls that changed something. The simulator answers InternalFailure to calls that did, when the answer is lost.
func (s *stage) effects() []string {
	var out []string
	for _, c := range s.made {
		if c.Code == "InternalFailure" {
			c.Code = ""
		}
		if line := s.callLine(c); c.Code == "" && changes(line) {
			out = append(out, line)
		}
	}
	return out
}

func tookEffect(line string) bool { return changes(line) && !strings.Contains(line, "-> InvalidDB") }

// changes says whether a call is no reading one.
func changes(line string) bool {
	_, action, _ := strings.Cut(line, ":")
	return !strings.HasPrefix(action, "Describe") && !strings.HasPrefix(action, "List") && !strings.HasPrefix(action, "Get")
}

// callLine writes a call with what it is about. Where a list stands at which page, and prose, is left out.
func (s *stage) callLine(c awssim.Call) string {
	var parameters []string
	for i := 1; ; i++ {
		prefix := fmt.Sprintf("Parameters.Parameter.%d.", i)
		name, more := c.Parameters[prefix+"ParameterName"]
		if !more {
			break
		}
		parameters = append(parameters, fmt.Sprintf("%s=%s(%s)", name, c.Parameters[prefix+"ParameterValue"], c.Parameters[prefix+"ApplyMethod"]))
	}
	shown := awssim.Call{Service: c.Service, Action: c.Action, Code: c.Code, Parameters: map[string]string{}}
	for key, value := range c.Parameters {
		if key != "Marker" && key != "MaxRecords" && !strings.HasPrefix(key, "Parameters.") && !strings.HasSuffix(key, "Description") {
			shown.Parameters[key] = value
		}
	}
	line := shown.String()
	if len(parameters) > 0 {
		before, after, failed := strings.Cut(line, " -> ")
		line = before + " " + strings.Join(parameters, " ")
		if failed {
			line += " -> " + after
		}
	}
	return s.same(line)
}

var (
	pidPattern      = regexp.MustCompile(`pid \d+`)
	durationPattern = regexp.MustCompile(`runs for [0-9hms.]+`)
	rulePattern     = regexp.MustCompile(`sgr-[0-9a-f]+`)
	windowPattern   = regexp.MustCompile(`the window .*?, which opens .*?;`)
	countPattern    = regexp.MustCompile(`\d+ connections? (is|are) open`)
)

// same takes out what is different in each run.
func (s *stage) same(text string) string {
	for _, pair := range [][2]string{{s.region, "REGION"}, {fmt.Sprint(s.source.Server.Port()), "PORT"}, {s.source.Master.Database, "SOURCE"},
		{s.target.Master.Database, "TARGET"}, {fmt.Sprint(s.target.Server.Port()), "TARGETPORT"}} {
		text = strings.ReplaceAll(text, pair[0], pair[1])
	}
	text = pidPattern.ReplaceAllString(text, "pid N")
	text = durationPattern.ReplaceAllString(text, "runs for T")
	text = rulePattern.ReplaceAllString(text, "sgr-N")
	text = windowPattern.ReplaceAllString(text, "the window WINDOW, which opens THEN;")
	return countPattern.ReplaceAllString(text, "N connections are open")
}
