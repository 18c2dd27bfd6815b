package awssim

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// MetadataConfig describes the machine that asks. Empty fields get a plausible value.
type MetadataConfig struct {
	InstanceID       string
	InstanceType     string // default m6i.large
	ImageID          string
	PrivateIP        string // default 127.0.0.1
	Region           string // default: the simulator's
	AvailabilityZone string // default: zone a of the region
	MAC              string
	VPC              string // default: that of an instance without one
	Subnet           string
	SecurityGroup    string
	UserData         string // default: none, which is 404
}

func (c *MetadataConfig) setDefaults(region string) {
	for _, pair := range []struct {
		field    *string
		fallback string
	}{
		{&c.InstanceID, "i-0123456789abcdef0"}, {&c.InstanceType, "m6i.large"}, {&c.ImageID, "ami-0123456789abcdef0"},
		{&c.PrivateIP, "127.0.0.1"}, {&c.Region, region}, {&c.MAC, "0a:00:00:00:00:01"}, {&c.VPC, defaultVPC},
		{&c.Subnet, "subnet-0123456789abcdef0"}, {&c.SecurityGroup, "sg-0fedcba9876543210"},
	} {
		if *pair.field == "" {
			*pair.field = pair.fallback
		}
	}
	if c.AvailabilityZone == "" {
		c.AvailabilityZone = c.Region + "a"
	}
}

// metadata is the instance metadata service, version 2 only: without a token there is no answer.
type metadata struct {
	simulator *Simulator // for faults
	pages     map[string]string

	mu     sync.Mutex
	tokens map[string]time.Time // until when they are good
}

// Metadata serves the instance metadata (IMDSv2) of one machine; on a port of its own, since AWS serves it at an address of
// its own.
func (s *Simulator) Metadata(config MetadataConfig) http.Handler {
	config.setDefaults(s.options.Region)
	document := map[string]any{"accountId": s.options.Account, "architecture": "x86_64", "availabilityZone": config.AvailabilityZone,
		"imageId": config.ImageID, "instanceId": config.InstanceID, "instanceType": config.InstanceType, "privateIp": config.PrivateIP,
		"region": config.Region, "version": "2017-09-30", "pendingTime": time.Now().UTC().Format(time.RFC3339)}
	text, err := json.Marshal(document)
	if err != nil {
		panic(fmt.Sprintf("awssim: instance identity document: %v", err)) // strings only: cannot happen
	}
	network := "/latest/meta-data/network/interfaces/macs/" + config.MAC + "/"
	m := &metadata{simulator: s, tokens: map[string]time.Time{}, pages: map[string]string{
		"/latest/meta-data/instance-id":                 config.InstanceID,
		"/latest/meta-data/instance-type":               config.InstanceType,
		"/latest/meta-data/ami-id":                      config.ImageID,
		"/latest/meta-data/local-ipv4":                  config.PrivateIP,
		"/latest/meta-data/mac":                         config.MAC,
		"/latest/meta-data/placement/region":            config.Region,
		"/latest/meta-data/placement/availability-zone": config.AvailabilityZone,
		"/latest/meta-data/network/interfaces/macs/":    config.MAC + "/",
		network + "vpc-id":                              config.VPC,
		network + "subnet-id":                           config.Subnet,
		network + "security-group-ids":                  config.SecurityGroup,
		network + "local-ipv4s":                         config.PrivateIP,
		"/latest/dynamic/instance-identity/document":    string(text),
	}}
	if config.UserData != "" {
		m.pages["/latest/user-data"] = config.UserData
	}
	return m
}

const (
	tokenHeader = "X-Aws-Ec2-Metadata-Token"
	ttlHeader   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds"
	maxTokenTTL = 21600
)

func (m *metadata) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	isToken := r.URL.Path == "/latest/api/token" && r.Method == http.MethodPut
	trouble := m.trouble(isToken)
	if trouble.unreachable {
		panic(http.ErrAbortHandler) // cuts the connection without an answer
	}
	if trouble.late > 0 && !m.simulator.waitFor(r.Context(), trouble.late) {
		return
	}
	switch {
	case trouble.refused:
		http.Error(w, "Forbidden", http.StatusForbidden)
	case r.Header.Get("X-Forwarded-For") != "": // a proxy asks, not the machine
		http.Error(w, "Forbidden", http.StatusForbidden)
	case isToken:
		m.giveToken(w, r)
	case r.Method != http.MethodGet:
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	case !m.knows(r.Header.Get(tokenHeader)):
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
	default:
		m.givePage(w, r)
	}
}

// metadataTrouble is what faults do to one metadata request.
type metadataTrouble struct {
	unreachable, refused bool
	late                 time.Duration
}

func (m *metadata) trouble(isToken bool) (t metadataTrouble) {
	const action = "metadata"
	s := m.simulator
	s.mu.Lock()
	defer s.mu.Unlock()
	t.unreachable = s.take(action, MetadataUnreachable) != nil
	if slow := s.take(action, MetadataSlow); slow != nil {
		t.late = slow.For
	}
	t.refused = isToken && s.take(action, MetadataRefuseToken) != nil
	return t
}

func (m *metadata) givePage(w http.ResponseWriter, r *http.Request) {
	page, known := m.pages[r.URL.Path]
	if !known {
		page, known = m.pages[strings.TrimSuffix(r.URL.Path, "/")]
	}
	if !known {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	write(w, "text/plain", http.StatusOK, []byte(page))
}

func (m *metadata) giveToken(w http.ResponseWriter, r *http.Request) {
	ttl, err := strconv.Atoi(r.Header.Get(ttlHeader))
	if err != nil || ttl < 1 || ttl > maxTokenTTL {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	token := rand.Text()
	m.mu.Lock()
	m.tokens[token] = time.Now().Add(time.Duration(ttl) * time.Second)
	m.mu.Unlock()
	w.Header().Set(ttlHeader, strconv.Itoa(ttl))
	write(w, "text/plain", http.StatusOK, []byte(token))
}

func (m *metadata) knows(token string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.tokens[token])
}
