package pgserver

import (
	"fmt"
	"os"
	"path/filepath"

	"timeferry/internal/fault"
)

// build is one package of npm's @embedded-postgres: the servers that Debian does not have side by side. It has
// postgres, initdb and the contrib extensions, and no client programs.
type build struct {
	version   string
	integrity map[string]string // npm's dist.integrity, by npm's name of the architecture; missing: there is no such package
}

// builds are pinned: what arrives must have these digests.
var builds = map[int]build{
	12: {"12.22.0-beta.15", map[string]string{
		"x64": "sha512-iG+VySdss+bA5SLDIRrowxKuV57GTc/ePu7NzN0Vnk4t+guX4bW3JP1h4t5MFzZ5SZEJ9tV+fDPjkwPTh2kzuw=="}},
	13: {"13.23.0-beta.16", map[string]string{
		"x64": "sha512-0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w=="}},
	14: {"14.23.0-beta.17", map[string]string{
		"x64": "sha512-WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w=="}},
	15: {"15.18.0-beta.17", map[string]string{
		"x64":   "sha512-TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
		"arm64": "sha512-ape8eUuz4O2KrO8mySDMEKuHYEppJ71EJ4IanBa1fH6LOui9wifm4+iJnhFkaY+WGBa/Rgw/of+RlFHO2i+bLg=="}},
	16: {"16.14.0-beta.17", map[string]string{
		"x64":   "sha512-8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg==",
		"arm64": "sha512-LNT9TXoOGR/RSop1PewcMtpuf1Dtg6sKU7sFA1ODqInRA8NoP15HyLekUHW5aWnruu4yfs1pcy6DaV39T556mQ=="}},
	17: {"17.10.0-beta.17", map[string]string{
		"x64":   "sha512-hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
		"arm64": "sha512-mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig=="}},
	18: {"18.4.0-beta.17", map[string]string{
		"x64":   "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
		"arm64": "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="}},
}

// Majors are the versions of PostgreSQL that a source may have, oldest first.
func Majors() []int { return []int{12, 13, 14, 15, 16, 17, 18} }

// findSourceOf looks for a plain PostgreSQL of one major version: Debian's, else the downloaded one. 0 is any.
func findSourceOf(major int) (*flavour, error) {
	if major == 0 {
		return findSource()
	}
	kind := fmt.Sprintf("PostgreSQL %d source", major)
	if bin := debianBin(major); isInstalled("", bin) {
		return newFlavour(kind, "", bin, commonSettings)
	}
	dir, err := buildDir(major)
	if err != nil {
		return nil, err
	}
	if bin := filepath.Join(dir, "bin"); isInstalled("", bin) {
		return newFlavour(kind, "", bin, commonSettings)
	}
	return nil, fault.New(fault.Operator, "find the", kind, "run `go run ./sandbox/install`", "it is not installed: %w", ErrUnavailable).WithCode("no-server")
}

// buildDir is where the build of a major version is, or will be. It is complete if it exists.
func buildDir(major int) (string, error) {
	b, ok := builds[major]
	if !ok {
		return "", fault.New(fault.Operator, "find PostgreSQL", fmt.Sprint(major), "use one of the versions 12 to 18", "there are no binaries of that version").WithCode("no-server")
	}
	home, err := buildsHome()
	return filepath.Join(home, "postgresql-"+b.version), err
}

// systemCache is used by root when its own cache is closed to the user that servers run as.
const systemCache = "/var/cache/timeferry"

func buildsHome() (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	server := &flavour{drop: os.Geteuid() == 0}
	if server.reaches(filepath.Join(cache, "postgresql")) {
		return cache, nil
	}
	return systemCache, nil
}
