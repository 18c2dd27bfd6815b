package survey

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ReadIntervals asks the server how long each of the words is, in seconds: a month is 30 days, as TimescaleDB counts it.
// What is no interval, or has no end, is not a number. It changes nothing.
func ReadIntervals(ctx context.Context, conn *pgx.Conn, words []string) (map[string]float64, error) {
	lengths := map[string]float64{}
	for _, w := range words {
		var seconds float64
		err := conn.QueryRow(ctx, `SELECT coalesce((extract(year FROM i) * 12 + extract(month FROM i)) * 30 * 86400.0
				+ extract(day FROM i) * 86400.0 + extract(epoch FROM i - date_trunc('day', i)), 'NaN')::float8 FROM (SELECT $1::text::interval) w(i)`, w).Scan(&seconds)
		var refused *pgconn.PgError
		switch {
		case err == nil:
			lengths[w] = seconds
		case errors.As(err, &refused) && (refused.Code == "22007" || refused.Code == "22008" || refused.Code == "22015"):
			lengths[w] = math.NaN()
		default:
			return nil, fmt.Errorf("read an interval of the spec: %w", err)
		}
	}
	return lengths, nil
}
