package rdsctl

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"

	"timeferry/internal/contract"
)

// creditsPeriod is how often RDS publishes the balance, and creditsSpan how far back it is looked for: the newest value comes
// some minutes late.
const (
	creditsPeriod = 5 * time.Minute
	creditsSpan   = 30 * time.Minute
)

// CPUCredits is the newest CPU credit balance of the instance that serves the database: of a cluster, its writer. known is
// false where CloudWatch has none of the last half hour, as for all classes that are not burstable. See
// https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-metrics.html, CPUCreditBalance.
func (c *Client) CPUCredits(ctx context.Context, rds contract.RDS) (balance float64, known bool, err error) {
	id := rds.Instance
	if rds.Cluster != "" {
		in, err := c.open(rds).describe(ctx)
		if err != nil {
			return 0, false, err
		}
		id = in.Writer
	}
	now := time.Now()
	out, err := c.metrics.GetMetricStatistics(ctx, &cloudwatch.GetMetricStatisticsInput{
		Namespace: aws.String("AWS/RDS"), MetricName: aws.String("CPUCreditBalance"),
		Dimensions: []types.Dimension{{Name: aws.String("DBInstanceIdentifier"), Value: &id}},
		StartTime:  aws.Time(now.Add(-creditsSpan)), EndTime: &now, Period: aws.Int32(int32(creditsPeriod / time.Second)),
		Statistics: []types.Statistic{types.StatisticAverage}})
	if err != nil {
		return 0, false, c.explain(ctx, err, "read the CPU credits of", id)
	}
	var newest time.Time
	for _, point := range out.Datapoints { // in no order
		if point.Timestamp != nil && point.Average != nil && point.Timestamp.After(newest) {
			newest, balance, known = *point.Timestamp, *point.Average, true
		}
	}
	return balance, known, nil
}
