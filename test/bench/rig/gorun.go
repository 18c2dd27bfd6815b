package rig

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// FollowGoRun makes the kernel tell us when `go run` is gone, since it does not pass a SIGTERM on. The kernel ties that to
// a thread: call it from main, which starts on the first one, which never ends.
func FollowGoRun() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	name, err := os.ReadFile("/proc/" + strconv.Itoa(os.Getppid()) + "/comm")
	if err == nil && strings.TrimSpace(string(name)) == "go" {
		_ = unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGTERM), 0, 0, 0) // without it we only end later
	}
}
