package awssim

import (
	"fmt"
	"strconv"
	"strings"
)

// PendingModifications wait for the maintenance window, or for the next modification with ApplyImmediately. Zero fields
// change nothing. A parameter group is never among them.
type PendingModifications struct {
	AllocatedGiB        int
	BackupRetentionDays int
	Class               string // instances only
	EngineVersion       string
	StorageType         string
	CACertificate       string // instances only
	MultiAZ             *bool  // instances only
}

// pendingXML is PendingModifications on the wire; an empty one still is an element.
type pendingXML struct {
	AllocatedStorage        int    `xml:",omitempty"`
	BackupRetentionPeriod   int    `xml:",omitempty"`
	DBInstanceClass         string `xml:",omitempty"`
	EngineVersion           string `xml:",omitempty"`
	StorageType             string `xml:",omitempty"`
	CACertificateIdentifier string `xml:",omitempty"`
	MultiAZ                 *bool  `xml:",omitempty"`
}

func (p PendingModifications) xml() pendingXML {
	return pendingXML{p.AllocatedGiB, p.BackupRetentionDays, p.Class, p.EngineVersion, p.StorageType, p.CACertificate, p.MultiAZ}
}

// SetPending makes these the pending modifications of an instance or cluster, as if somebody had asked for them without
// ApplyImmediately; the zero value removes them.
func (s *Simulator) SetPending(id string, pending PendingModifications) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in := s.world.instances[strings.ToLower(id)]; in != nil {
		in.pending = pending.xml()
		return nil
	}
	cl, err := s.world.cluster(id)
	if err != nil {
		return fmt.Errorf("awssim: %w", err)
	}
	if pending.Class != "" || pending.CACertificate != "" || pending.MultiAZ != nil {
		return fmt.Errorf("awssim: cluster %s cannot have pending modifications of an instance", id)
	}
	cl.pending = pending.xml()
	return nil
}

// merge adds a request's modifications to those that wait already. texts are the fields that the kind of database has.
func (p pendingXML) merge(c call, texts ...string) (merged pendingXML, changes bool, err error) {
	for name, field := range map[string]*int{"AllocatedStorage": &p.AllocatedStorage, "BackupRetentionPeriod": &p.BackupRetentionPeriod} {
		text := c.get(name)
		if text == "" {
			continue
		}
		if *field, err = strconv.Atoi(text); err != nil {
			return p, false, refuse("InvalidParameterValue", "Invalid value %s for %s", text, name)
		}
		changes = true
	}
	fields := map[string]*string{"DBInstanceClass": &p.DBInstanceClass, "EngineVersion": &p.EngineVersion, "StorageType": &p.StorageType,
		"CACertificateIdentifier": &p.CACertificateIdentifier}
	for _, name := range texts {
		if text := c.get(name); text != "" {
			*fields[name], changes = text, true
		}
	}
	if c.form.Has("MultiAZ") {
		multi := c.isTrue("MultiAZ")
		p.MultiAZ, changes = &multi, true
	}
	return p, changes, nil
}

func (p pendingXML) isEmpty() bool { return p == pendingXML{} }

// put sets to, unless there is nothing to set.
func put[T comparable](to *T, value T) {
	var none T
	if value != none {
		*to = value
	}
}

func (in *instance) flushPending() {
	p, c := in.pending, &in.config
	put(&in.allocated, p.AllocatedStorage)
	put(&c.BackupRetentionDays, p.BackupRetentionPeriod)
	put(&in.class, p.DBInstanceClass)
	put(&c.EngineVersion, p.EngineVersion)
	put(&c.StorageType, p.StorageType)
	put(&c.CACertificate, p.CACertificateIdentifier)
	if p.MultiAZ != nil {
		c.MultiAZ = *p.MultiAZ
	}
	in.pending = pendingXML{}
}

func (cl *cluster) flushPending() {
	p, c := cl.pending, &cl.config
	put(&c.AllocatedGiB, p.AllocatedStorage)
	put(&c.BackupRetentionDays, p.BackupRetentionPeriod)
	put(&c.EngineVersion, p.EngineVersion)
	put(&c.StorageType, p.StorageType)
	cl.pending = pendingXML{}
}
