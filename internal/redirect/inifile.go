package redirect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"timeferry/internal/contract"
)

var (
	sectionLine = regexp.MustCompile(`^\s*\[([^\]]*)\]`)
	pairPattern = regexp.MustCompile(`([A-Za-z_]+)\s*=\s*('(?:[^']|'')*'|[^\s']+)`)
)

// databaseLine finds the line of a database in a file of PgBouncer's: in its section [databases], or anywhere in a file that has
// no sections, which is one to be included.
func databaseLine(text, name string) (index int, err error) {
	key := regexp.MustCompile(`^\s*(?:` + regexp.QuoteMeta(name) + `|"` + regexp.QuoteMeta(strings.ReplaceAll(name, `"`, `""`)) + `")\s*=`)
	inside, index := true, -1
	for i, line := range strings.Split(text, "\n") {
		if m := sectionLine.FindStringSubmatch(line); m != nil {
			inside = strings.TrimSpace(m[1]) == "databases"
		} else if inside && key.MatchString(line) {
			if index >= 0 {
				return -1, fmt.Errorf("it has two lines for database %s", name)
			}
			index = i
		}
	}
	if index < 0 {
		return -1, fmt.Errorf("it has no line of its own for database %s in [databases]", name)
	}
	return index, nil
}

// withAddress gives the line of a database with another address, and what the address was. All other settings stay.
func withAddress(line string, to contract.Address) (changed, was string, err error) {
	head, settings, _ := strings.Cut(line, "=")
	if rest := strings.TrimSpace(pairPattern.ReplaceAllString(settings, "")); rest != "" {
		return "", "", errors.New("its line cannot be read: write it as key=value pairs, with values in single quotes where they hold spaces")
	}
	kept := []string{"host=" + quoted(to.Host), "port=" + strconv.Itoa(to.Port), "dbname=" + quoted(to.Database)}
	var before []string
	for _, m := range pairPattern.FindAllStringSubmatch(settings, -1) {
		switch m[1] {
		case "host", "port", "dbname":
			before = append(before, m[0])
		default:
			kept = append(kept, m[0])
		}
	}
	return head + "= " + strings.Join(kept, " "), strings.Join(before, " "), nil
}

func quoted(value string) string {
	if regexp.MustCompile(`^[A-Za-z0-9._:/,-]+$`).MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", "''") + "'"
}

// replaceFile writes a file as a whole, durably, with the owner and the rights of the one that was there.
func replaceFile(path, text string) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".timeferry-*")
	if err != nil {
		return err
	}
	err = f.Chmod(info.Mode().Perm())
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && err == nil && os.Geteuid() == 0 {
		err = f.Chown(int(owner.Uid), int(owner.Gid))
	}
	if err == nil {
		_, err = f.WriteString(text)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
