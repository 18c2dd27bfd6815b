package pgserver

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// postmasterFile is what a running or killed server leaves in postmaster.pid: its pid on line 1, and the key and
// the id of its System V shared memory segment on line 7.
func postmasterFile(data string) (pid, shmKey, shmID int, ok bool) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0, 0, 0, false
	}
	lines := strings.Split(string(text), "\n")
	pid, err = strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil {
		return 0, 0, 0, false
	}
	if len(lines) >= 7 {
		if f := strings.Fields(lines[6]); len(f) == 2 {
			shmKey, _ = strconv.Atoi(f[0]) // 0 when it is not a number: no segment to remove
			shmID, _ = strconv.Atoi(f[1])
		}
	}
	return pid, shmKey, shmID, true
}

// hasPostmaster says whether the server of a data directory still runs.
func hasPostmaster(data string) bool {
	pid, _, _, ok := postmasterFile(data)
	if !ok || !alive(pid) {
		return false
	}
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return err == nil && strings.TrimSpace(string(name)) == "postgres"
}

// removeServer removes a stopped server's directory and data, and the shared memory segment that a killed one leaves in
// the kernel: there is only a limited number of them.
func removeServer(dir, data string) error {
	if _, key, id, ok := postmasterFile(data); ok && key != 0 {
		var segment unix.SysvShmDesc
		_, err := unix.SysvShmCtl(id, unix.IPC_STAT, &segment)
		if err == nil && segment.Nattch == 0 && int(segment.Perm.Key) == key {
			_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) // it may be gone already
		}
	}
	return errors.Join(os.RemoveAll(data), os.RemoveAll(dir))
}
