package pgserver

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"timeferry/internal/fault"
)

// EnsureSources downloads, with npm, the servers of these major versions that this machine has not, and writes a line to
// log for each. It says nothing and is quick when everything is there. Versions that nobody built for this machine's
// architecture are named in log and passed over.
func EnsureSources(ctx context.Context, log io.Writer, majors ...int) error {
	for _, major := range majors {
		if ready, err := available(findSourceOf(major)); err != nil {
			return err
		} else if ready {
			continue
		}
		err := withLock(ctx, fmt.Sprintf("postgresql-%d", major), func() error {
			if ready, err := available(findSourceOf(major)); ready || err != nil {
				return err
			}
			return download(ctx, log, major)
		})
		if err != nil {
			return fmt.Errorf("install a source server of PostgreSQL %d: %w", major, err)
		}
	}
	return nil
}

// npmArch is what npm calls this machine's architecture.
func npmArch() string {
	if runtime.GOARCH == "amd64" {
		return "x64"
	}
	return runtime.GOARCH
}

// download brings one build into its directory, which appears complete or not at all. The caller holds the lock.
func download(ctx context.Context, log io.Writer, major int) error {
	dir, err := buildDir(major)
	if err != nil {
		return err
	}
	b := builds[major]
	integrity, ok := b.integrity[npmArch()]
	if !ok {
		fmt.Fprintf(log, "no PostgreSQL %d for %s is to be had: tests of that version will find none\n", major, runtime.GOARCH)
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("remove what a failed attempt left: %w", err)
	}
	work, err := os.MkdirTemp("", "timeferry-npm-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	name := "@embedded-postgres/linux-" + npmArch() + "@" + b.version
	fmt.Fprintf(log, "downloading %s to %s\n", name, dir)
	archive, err := npmPack(ctx, log, work, name)
	if err != nil {
		return err
	}
	if err := checkIntegrity(archive, integrity); err != nil {
		return err
	}
	if err := unpack(archive, partial); err != nil {
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return os.Rename(partial, dir)
}

// npmPack has npm bring a package's archive, from wherever it is configured to look, without installing or running it.
func npmPack(ctx context.Context, log io.Writer, dir, name string) (string, error) {
	if err := ensureNPM(ctx, log); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "npm", "pack", name, "--pack-destination", dir, "--ignore-scripts", "--silent")
	cmd.Dir = dir // no project's settings
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fault.New(fault.Operator, "run", "npm pack "+name, "check this machine's package registry and network", "%w: %s", err, tail(out))
	}
	archives, err := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return "", errors.Join(err, fmt.Errorf("npm pack %s left %d archives, not one", name, len(archives)))
	}
	return archives[0], nil
}

func ensureNPM(ctx context.Context, log io.Writer) error {
	if _, err := exec.LookPath("npm"); err == nil {
		return nil
	}
	if os.Geteuid() != 0 {
		return cannotInstall("other versions of PostgreSQL come by npm, which is not installed")
	}
	return withLock(ctx, "install", func() error {
		a, err := newApt(ctx, log)
		if err != nil {
			return err
		}
		return a.install("npm")
	})
}

// checkIntegrity compares a file with npm's notation of its digest.
func checkIntegrity(file, want string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	sum := sha512.New()
	if _, err := io.Copy(sum, f); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != want {
		return fault.New(fault.Integrity, "check the download", filepath.Base(file), "", "its digest is %s, not %s", got, want)
	}
	return nil
}

// nativePrefix is where the package has the server.
const nativePrefix = "package/native/"

// linksName lists the symbolic links, which npm's archives cannot hold.
const linksName = "pg-symlinks.json"

// unpack writes the server's files to dir, which must not exist, and makes its links. What is for building extensions
// is left out.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close() // only read
	zipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	files := tar.NewReader(zipped)
	for {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(path.Clean(header.Name), nativePrefix)
		if !ok || header.Typeflag != tar.TypeReg || path.Ext(name) == ".a" || strings.HasPrefix(name, "lib/postgresql/pgxs/") {
			continue
		}
		if err := writeMember(files, filepath.Join(dir, name), header.FileInfo().Mode().Perm()); err != nil {
			return err
		}
	}
	return makeLinks(dir)
}

func writeMember(from io.Reader, to string, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

// makeLinks makes the links that the package lists: {"source": the file, "target": the link}.
func makeLinks(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, linksName))
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("read %s: %w", linksName, err)
	}
	for _, link := range links {
		file, name := path.Clean("package/"+link.Source), path.Clean("package/"+link.Target)
		if !strings.HasPrefix(file, nativePrefix) || !strings.HasPrefix(name, nativePrefix) {
			return fmt.Errorf("%s has a link that leads outside: %s to %s", linksName, link.Target, link.Source)
		}
		to, err := filepath.Rel(filepath.Dir(name), file)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, filepath.Join(dir, strings.TrimPrefix(name, nativePrefix))); err != nil {
			return err
		}
	}
	return nil
}
