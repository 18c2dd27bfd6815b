package failpoint_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/failpoint"
)

func TestAtCallsTheHook(t *testing.T) {
	failpoint.At(failpoint.BeforeCommit) // nobody listens
	var seen []failpoint.Point
	failpoint.Arm(func(p failpoint.Point) { seen = append(seen, p) })
	failpoint.At(failpoint.BeforeCommit)
	require.Equal(t, []failpoint.Point{failpoint.BeforeCommit}, seen)
}

// A point that is not in Points would not be tried by anybody.
func TestPointsListsAll(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "failpoint.go", nil, 0)
	require.NoError(t, err)
	constants := 0
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == "Point" {
				constants++
			}
		}
		return true
	})
	require.Len(t, failpoint.Points(), constants)
	unique := map[failpoint.Point]bool{}
	for _, p := range failpoint.Points() {
		unique[p] = true
	}
	require.Len(t, unique, constants)
}

func BenchmarkAt(b *testing.B) {
	for b.Loop() {
		failpoint.At(failpoint.BeforeWrite)
	}
}
