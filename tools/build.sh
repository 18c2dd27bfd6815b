#!/bin/sh
# Builds development programs from the versions pinned in tools/go.mod and tools/tctl/go.mod into a cache directory:
#   build.sh DIRECTORY PROGRAM...
# A program is built again only when its pinned module has changed. A temporal that is on PATH is used as it is.
set -eu
cd "$(dirname "$0")"
into=$1
shift
mkdir -p "$into"

package() {
	case $1 in
	temporal) echo . github.com/temporalio/cli/cmd/temporal ;;
	tctl) echo tctl github.com/temporalio/tctl/cmd/tctl ;;
	staticcheck) echo . honnef.co/go/tools/cmd/staticcheck ;;
	workflowcheck) echo . go.temporal.io/sdk/contrib/tools/workflowcheck ;;
	benchstat) echo . golang.org/x/perf/cmd/benchstat ;;
	*) echo "build.sh: unknown program $1" >&2; exit 2 ;;
	esac
}

for program in "$@"; do
	if [ "$program" = temporal ] && command -v temporal >/dev/null 2>&1; then
		continue
	fi
	set -- $(package "$program")
	stamp=$(cat "$1/go.mod" "$1/go.sum" | cksum | tr -d ' ')-$(go env GOVERSION)
	if [ -x "$into/$program" ] && [ "$(cat "$into/$program.version" 2>/dev/null)" = "$stamp" ]; then
		continue
	fi
	echo "building $program once (minutes the first time)"
	(cd "$1" && go build -o "$into/$program.new" "$2")
	mv "$into/$program.new" "$into/$program"
	echo "$stamp" >"$into/$program.version"
done
