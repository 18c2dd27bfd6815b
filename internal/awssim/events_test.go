package awssim_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
)

func TestEvents(t *testing.T) {
	w := newFixture(t)
	w.mustGroup(t, "mine")
	w.mustAttach(t, "mine")
	w.requireState(t, "available", "pending-reboot")
	require.NoError(t, w.reboot(t, false))
	w.requireState(t, "available", "in-sync")
	out, err := w.rds.DescribeEvents(t.Context(), &rds.DescribeEventsInput{SourceIdentifier: aws.String("shop"), SourceType: types.SourceTypeDbInstance})
	require.NoError(t, err)
	require.Len(t, out.Events, 2)
	require.Equal(t, "Updated to use DBParameterGroup mine", *out.Events[0].Message)
	require.Equal(t, []string{"availability"}, out.Events[1].EventCategories)
	require.NotNil(t, out.Events[1].Date)
	other, err := w.rds.DescribeEvents(t.Context(), &rds.DescribeEventsInput{SourceType: types.SourceTypeDbCluster})
	require.NoError(t, err)
	require.Empty(t, other.Events)
}

func TestBlueGreenDeployments(t *testing.T) {
	w := newFixture(t)
	id := w.simulator.AddBlueGreen(awssim.BlueGreenConfig{Name: "upgrade", Instance: "shop", Target: "shop-green"})
	find := func(source string) []types.BlueGreenDeployment {
		out, err := w.rds.DescribeBlueGreenDeployments(t.Context(), &rds.DescribeBlueGreenDeploymentsInput{
			Filters: []types.Filter{{Name: aws.String("source"), Values: []string{source}}}})
		require.NoError(t, err)
		return out.BlueGreenDeployments
	}
	found := find(*w.instance(t).DBInstanceArn)
	require.Len(t, found, 1)
	require.Equal(t, []string{id, "upgrade", "AVAILABLE"}, []string{*found[0].BlueGreenDeploymentIdentifier, *found[0].BlueGreenDeploymentName, *found[0].Status})
	require.Empty(t, find("arn:other"))
	_, err := w.rds.DescribeBlueGreenDeployments(t.Context(), &rds.DescribeBlueGreenDeploymentsInput{BlueGreenDeploymentIdentifier: aws.String("bgd-none")})
	requireCode(t, err, "BlueGreenDeploymentNotFoundFault")
}
