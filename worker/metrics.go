package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/uber-go/tally/v4"
	tallyprom "github.com/uber-go/tally/v4/prometheus"
	"go.temporal.io/sdk/client"
	sdktally "go.temporal.io/sdk/contrib/tally"

	"timeferry/internal/fault"
	"timeferry/internal/obs"
)

// metrics are what the worker measures, and the server that shows them. The zero value measures nothing.
type metrics struct {
	ours     *obs.Metrics
	temporal client.MetricsHandler
	server   *http.Server
	scope    io.Closer
}

// serveMetrics listens on address ("" is nowhere) and serves /metrics and /healthz until close.
func serveMetrics(address string, machine obs.Machine, logger *slog.Logger) (metrics, error) {
	if address == "" {
		return metrics{}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return metrics{}, fault.New(fault.Operator, "serve metrics on", address, "choose a free address with --metrics-address", "%w", err)
	}
	registry := prometheus.NewRegistry()
	reporter := tallyprom.NewReporter(tallyprom.Options{Registerer: registry, Gatherer: registry,
		OnRegisterError: func(err error) { logger.Warn("register metric", "err", err) }})
	scope, closer := tally.NewRootScope(tally.ScopeOptions{CachedReporter: reporter, Separator: tallyprom.DefaultSeparator,
		SanitizeOptions: &sdktally.PrometheusSanitizeOptions, OmitCardinalityMetrics: true}, time.Second)
	obs.RegisterMachine(registry, machine)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	m := metrics{ours: obs.NewMetrics(registry), temporal: sdktally.NewMetricsHandler(sdktally.NewPrometheusNamingScope(scope)),
		server: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, scope: closer}
	go func() {
		if err := m.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("metrics server ended", "err", err)
		}
	}()
	return m, nil
}

func (m metrics) close() {
	if m.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = m.server.Shutdown(ctx) // the process ends
	_ = m.scope.Close()        // likewise
}
