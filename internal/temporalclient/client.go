// Package temporalclient connects worker and starter to Temporal in the same way.
//
// In: the standard TEMPORAL_* variables and profiles. Out: a client, closed by the caller.
//
// Not here: names of workflows or queues (contract).
package temporalclient

import (
	"fmt"
	"log/slog"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/contrib/envconfig"
	"go.temporal.io/sdk/log"

	"timeferry/internal/fault"
)

// Dial connects by TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, the TLS variables, and the profile in
// temporal.toml, as the temporal program does. metrics may be nil. The client is safe for concurrent use; the caller closes it.
func Dial(logger *slog.Logger, metrics client.MetricsHandler) (client.Client, error) {
	options, err := envconfig.LoadDefaultClientOptions()
	if err != nil {
		return nil, fault.New(fault.Operator, "read", "Temporal settings", "check the TEMPORAL_* variables and the profile in temporal.toml", "%w", err)
	}
	options.MetricsHandler = metrics
	options.Logger = log.NewStructuredLogger(logger)
	c, err := client.Dial(options)
	if err != nil {
		address := options.HostPort
		if address == "" {
			address = client.DefaultHostPort
		}
		return nil, fault.New(fault.Operator, "connect to", "Temporal at "+address,
			"start it, or set TEMPORAL_ADDRESS to where it is", "%s", shorten(err))
	}
	return c, nil
}

func shorten(err error) string {
	const most = 200
	s := err.Error()
	if len(s) > most {
		s = fmt.Sprintf("%s…", s[:most])
	}
	return s
}
