package survey

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// sharesOfMemory is what shared_buffers is multiplied by: managed services and TimescaleDB's own tuning give it a quarter.
const sharesOfMemory = 4

// ReadMemory estimates the memory of the target's machine in bytes, which PostgreSQL does not know itself.
func ReadMemory(ctx context.Context, conn *pgx.Conn) (int64, error) {
	var bytes int64
	err := conn.QueryRow(ctx, "SELECT setting::bigint * 8192 FROM pg_settings WHERE name = 'shared_buffers'").Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("read the target's shared_buffers: %w", err)
	}
	return sharesOfMemory * bytes, nil
}
