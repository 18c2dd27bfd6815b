package rdsctl

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	"github.com/aws/aws-sdk-go-v2/service/rds/types"
)

// eventMinutes is how far back events are looked at.
const eventMinutes = 24 * 60

// eventWords gives the last thing that RDS said about parameters or a failure, which names the parameter, as the end of a
// sentence. It is empty if RDS said nothing or cannot be asked: the state itself is what matters.
func (c *Client) eventWords(ctx context.Context, in Instance) string {
	sources := map[string]types.SourceType{in.ID: types.SourceTypeDbInstance}
	if in.isCluster() {
		sources = map[string]types.SourceType{in.ID: types.SourceTypeDbCluster}
		if in.Writer != "" {
			sources[in.Writer] = types.SourceTypeDbInstance
		}
	}
	var last types.Event
	for id, kind := range sources {
		pages := rds.NewDescribeEventsPaginator(c.rds, &rds.DescribeEventsInput{SourceIdentifier: &id, SourceType: kind, Duration: aws.Int32(eventMinutes)})
		for pages.HasMorePages() {
			out, err := pages.NextPage(ctx)
			if err != nil {
				return ""
			}
			for _, e := range out.Events {
				if tellsWhy(e) && !eventTime(e).Before(eventTime(last)) {
					last = e
				}
			}
		}
	}
	if last.Message == nil {
		return ""
	}
	return "; RDS says: " + strings.TrimRight(*last.Message, ".")
}

func eventTime(e types.Event) time.Time { return aws.ToTime(e.Date) }

// tellsWhy leaves out backups, restarts, and the note that a group was attached, which comes between cause and state.
func tellsWhy(e types.Event) bool {
	message := strings.ToLower(aws.ToString(e.Message))
	for _, category := range e.EventCategories {
		if category == "failure" || category == "configuration change" && strings.Contains(message, "parameter") && !strings.HasPrefix(message, "updated to use ") {
			return true
		}
	}
	return strings.Contains(message, "incompatible")
}
