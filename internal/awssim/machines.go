package awssim

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Volume is a disk of a machine.
type Volume struct {
	ID                  string
	Device              string
	SizeGiB             int
	Type                string
	Encrypted           bool
	DeleteOnTermination bool
	Tags                map[string]string
}

// Machine is an EC2 instance, as its creator asked for it and as it is.
type Machine struct {
	ID               string
	State            string // pending, running, shutting-down, terminated
	Type             string
	ImageID          string
	Architecture     string
	VPC              string
	Subnet           string
	AvailabilityZone string
	PrivateIP        string
	PublicIP         string // empty: none
	SecurityGroups   []string
	InstanceProfile  string // name or ARN
	UserData         string // decoded
	TokensRequired   bool   // metadata by IMDSv2 only
	TokenHops        int
	Volumes          []Volume // the first is the root disk
	Tags             map[string]string
	Launched         time.Time
}

// machine is a Machine and what nobody asks about in tests.
type machine struct {
	Machine
	reservation string
	index       int // in its reservation
	clientToken string
	checked     bool // its status checks are passed
}

func (m *machine) clone() *machine {
	out := *m
	out.Machine = m.copy()
	return &out
}

func (m *machine) copy() Machine {
	out := m.Machine
	out.SecurityGroups, out.Volumes, out.Tags = slices.Clone(m.SecurityGroups), slices.Clone(m.Volumes), maps.Clone(m.Tags)
	for i := range out.Volumes {
		out.Volumes[i].Tags = maps.Clone(out.Volumes[i].Tags)
	}
	return out
}

// States of machines.
const (
	machinePending      = "pending"
	machineRunning      = "running"
	machineShuttingDown = "shutting-down"
	machineTerminated   = "terminated"
)

// machineCodes are the numbers that EC2 gives beside the states.
var machineCodes = map[string]int{machinePending: 0, machineRunning: 16, machineShuttingDown: 32, machineTerminated: 48}

// Machines gives all EC2 instances, terminated ones too, in the order in which they were launched.
func (s *Simulator) Machines() []Machine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return mapped(s.world.sortedMachines(), (*machine).copy)
}

func (w *world) sortedMachines() []*machine {
	return slices.SortedFunc(maps.Values(w.machines), func(a, b *machine) int { return strings.Compare(a.ID, b.ID) })
}

func (w *world) machine(id string) (*machine, error) {
	m := w.machines[id]
	if m == nil {
		return nil, refuse("InvalidInstanceID.NotFound", "The instance ID '%s' does not exist", id)
	}
	return m, nil
}

// runMachines launches instances. A client token that was there before gives the instances it gave then.
func (s *Simulator) runMachines(c call) (any, error) {
	wanted, err := s.readLaunch(c)
	if err != nil {
		return nil, err
	}
	if token := c.get("ClientToken"); token != "" {
		if same := s.withToken(token); len(same) > 0 {
			if len(same) < wanted.least || len(same) > wanted.most || same[0].Type != wanted.Type || same[0].ImageID != wanted.ImageID || same[0].UserData != wanted.UserData {
				return nil, refuse("IdempotentParameterMismatch", "The client token you have provided is associated with a resource that was launched with different parameters")
			}
			return s.reservationXML(same), nil
		}
	}
	s.serial++
	reservation := fmt.Sprintf("r-%017x", s.serial)
	var made []*machine
	for i := range wanted.most {
		made = append(made, s.launch(wanted, reservation, i, c.get("ClientToken")))
	}
	return s.reservationXML(made), nil
}

func (s *Simulator) withToken(token string) []*machine {
	var out []*machine
	for _, m := range s.world.sortedMachines() {
		if m.clientToken == token {
			out = append(out, m)
		}
	}
	return out
}

// launch makes one machine, pending, and lets it come up.
func (s *Simulator) launch(wanted launch, reservation string, index int, token string) *machine {
	s.serial++
	m := &machine{Machine: wanted.Machine, reservation: reservation, index: index, clientToken: token}
	m.Machine = m.copy() // several machines of one call share nothing
	m.ID, m.State, m.Launched = fmt.Sprintf("i-%017x", s.serial), machinePending, time.Now().UTC().Truncate(time.Second)
	n := s.world.networks[m.VPC]
	i := slices.IndexFunc(n.subnets, func(x subnet) bool { return x.id == m.Subnet })
	m.PrivateIP = fmt.Sprintf("10.%d.%d.%d", n.number, i, firstHost+n.subnets[i].used)
	if wanted.public {
		m.PublicIP = fmt.Sprintf("203.0.113.%d", 1+s.serial%250)
	}
	n.subnets[i].used++
	for v := range m.Volumes {
		s.serial++
		m.Volumes[v].ID = fmt.Sprintf("vol-%017x", s.serial)
	}
	s.world.machines[m.ID] = m
	s.options.Logf("machine %s of type %s is %s", m.ID, m.Type, m.State)
	s.later(s.options.Timings.Starting, func() {
		if m.State != machinePending {
			return
		}
		s.setMachineState(m, machineRunning)
		s.later(s.options.Timings.Checking, func() { m.checked = true })
	})
	return m
}

func (s *Simulator) setMachineState(m *machine, state string) {
	m.State = state
	s.options.Logf("machine %s is %s", m.ID, state)
}

type stateXML struct {
	Code int    `xml:"code"`
	Name string `xml:"name"`
}

func newStateXML(state string) stateXML { return stateXML{machineCodes[state], state} }

type stateChangeXML struct {
	ID       string   `xml:"instanceId"`
	Current  stateXML `xml:"currentState"`
	Previous stateXML `xml:"previousState"`
}

type terminateResult struct {
	Changes []stateChangeXML `xml:"instancesSet>item"`
}

// terminateMachines ends all machines of the request, or none. It may be asked again for one that has ended.
func (s *Simulator) terminateMachines(c call) (any, error) {
	ids := plainList(c.form, "InstanceId")
	if len(ids) == 0 {
		return nil, refuse("MissingParameter", "The request must contain the parameter InstanceId")
	}
	var all []*machine
	for _, id := range ids {
		m, err := s.world.machine(id)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	var out terminateResult
	for _, m := range all {
		before := m.State
		if before == machinePending || before == machineRunning {
			s.setMachineState(m, machineShuttingDown)
			s.later(s.options.Timings.Terminating, func() { s.setMachineState(m, machineTerminated) })
		}
		out.Changes = append(out.Changes, stateChangeXML{m.ID, newStateXML(m.State), newStateXML(before)})
	}
	return out, nil
}

// decodeUserData refuses what EC2 refuses.
func decodeUserData(text string) (string, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", refuse("InvalidUserData.Malformed", "Invalid BASE64 encoding of user data.")
	}
	if len(raw) > 16<<10 {
		return "", refuse("InvalidParameterValue", "User data is limited to 16384 bytes")
	}
	return string(raw), nil
}
