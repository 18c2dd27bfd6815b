package controlplane

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"sync"
	"testing"

	"timeferry/internal/awssim"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
)

var update = flag.Bool("update", false, "write testdata anew")

// machines is how many scenarios run at a time. They mostly wait for states of RDS to pass, so that it may be more than there
// are processors.
const machines = 8

func TestMain(m *testing.M) {
	account := httptest.NewServer(accounts)
	metadata := httptest.NewServer(awssim.New(awssim.Options{}).Metadata(awssim.MetadataConfig{PrivateIP: workerAddress}))
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": account.URL, "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.URL,
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "example", "AWS_CONFIG_FILE": os.DevNull,
		"AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "false"} {
		must(os.Setenv(name, value))
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_RDS"} {
		must(os.Unsetenv(name))
	}
	clients, err := pgserver.ClientBin(context.Background(), newestServer) // preflight wants a pg_dump that knows the source
	if err == nil {
		must(os.Setenv("PATH", clients+string(os.PathListSeparator)+os.Getenv("PATH")))
	}
	must(flag.Set("test.parallel", fmt.Sprint(machines))) // the command line still wins
	pgtest.Main(m, account.Close, metadata.Close)
}

// newestServer is the newest major for which every machine that runs tests has a server and client programs. The family of 18 has
// such a server behind it: nothing that is tested here depends on the difference.
const newestServer = 17

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// workerAddress is what the instance metadata says of the machine that the tests run on.
const workerAddress = "10.0.0.5"

// accounts answers for all simulators at one address, since the SDK takes the address from the environment, which is the
// whole process's. A call's region, which its signature names, says whose it is.
var accounts = &front{byRegion: map[string]http.Handler{}}

type front struct {
	mu       sync.Mutex
	byRegion map[string]http.Handler
}

func (f *front) add(region string, h http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byRegion[region] = h
}

func (f *front) remove(region string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byRegion, region)
}

var signedRegion = regexp.MustCompile(`Credential=[^/]+/\d+/([^/]+)/`)

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m := signedRegion.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil {
		http.Error(w, "not signed", http.StatusForbidden)
		return
	}
	f.mu.Lock()
	h := f.byRegion[m[1]]
	f.mu.Unlock()
	if h == nil {
		http.Error(w, "no such region", http.StatusForbidden)
		return
	}
	h.ServeHTTP(w, r)
}
