package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Bounds of what a report keeps, whatever the migration's size and length: it is in the workflow's history.
const (
	// MaxLagSamples are what is kept of the lag over the whole migration, and LookLagSamples what one look at the stream hands over.
	MaxLagSamples  = 240
	LookLagSamples = 12
	// MaxCopiedTables are told one by one.
	MaxCopiedTables = 50
	// MaxProblemTimes are remembered after they have ended.
	MaxProblemTimes = 200
	// maxOptions of the spec are told.
	maxOptions = 200
)

// LagSample is how far behind the target was at most in the Span seconds that ended At.
type LagSample struct {
	At    time.Time `json:"at"`
	Span  float64   `json:"span"`
	Lag   float64   `json:"lag"` // seconds
	Bytes int64     `json:"bytes"`
}

// LagWatch is what a look at the stream tells: where it is now, and how it was meanwhile.
type LagWatch struct {
	ReplicationStatus
	Samples []LagSample `json:"samples,omitempty"`
	// NewTables says that it ended early, because of new tables on the source.
	NewTables bool `json:"newTables,omitempty"`
}

// AddLag adds samples, oldest first, and merges neighbours that together span the least until there are no more than most. So the
// samples stay about evenly spread over all of the time, and no peak is lost. The slice that is given is used up.
func AddLag(samples []LagSample, more []LagSample, most int) []LagSample {
	for _, s := range more {
		samples = append(samples, s)
		if len(samples) > most {
			samples = mergeShortest(samples)
		}
	}
	return samples
}

func mergeShortest(samples []LagSample) []LagSample {
	shortest := 0
	for i := range len(samples) - 1 {
		if together(samples[i], samples[i+1]) < together(samples[shortest], samples[shortest+1]) {
			shortest = i
		}
	}
	first, second := samples[shortest], samples[shortest+1]
	samples[shortest] = LagSample{At: second.At, Span: together(first, second), Lag: max(first.Lag, second.Lag), Bytes: max(first.Bytes, second.Bytes)}
	return append(samples[:shortest+1], samples[shortest+2:]...)
}

// together is what both span, with what nobody looked at between them.
func together(first, second LagSample) float64 {
	return second.At.Sub(first.At).Seconds() + first.Span
}

// CopyDone is how far the copy is, and once it is complete how it went.
type CopyDone struct {
	CopyStatus
	Copied *CopiedTables `json:"copied,omitempty"`
}

// CopiedTables is how the tables were copied: the ones with the most bytes, at most MaxCopiedTables, and the sum of the others.
type CopiedTables struct {
	Largest     []TableCopy `json:"largest"`
	Others      int         `json:"others,omitempty"`
	OthersRows  int64       `json:"othersRows,omitempty"`
	OthersBytes int64       `json:"othersBytes,omitempty"`
}

// TableCopy is how one table was copied. Bytes are those of COPY. Its parts may have been copied side by side: StreamSeconds is what
// they took together.
type TableCopy struct {
	Table         string    `json:"table"`
	Parts         int       `json:"parts"`
	Rows          int64     `json:"rows"`
	Bytes         int64     `json:"bytes"`
	Began         time.Time `json:"began"`
	Ended         time.Time `json:"ended"`
	StreamSeconds float64   `json:"streamSeconds"`
}

// TargetStatus is where the target is.
type TargetStatus struct {
	Host     string `json:"host"`
	Port     int    `json:"port"`
	Database string `json:"database"`
	Version  string `json:"version,omitempty"`
}

// ProblemTime is a problem with when it was seen first and when it was over; Ended is nil when it was not.
type ProblemTime struct {
	Problem
	Opened time.Time  `json:"opened"`
	Ended  *time.Time `json:"ended,omitempty"`
}

// OptionChoice is an option that the spec sets to another value than the default, "" where there is none.
type OptionChoice struct {
	Option  string `json:"option"`
	Value   string `json:"value"`
	Default string `json:"default,omitempty"`
}

// Choices are the options by which the spec differs from one that only says what is moved where. Addresses, users and references to
// passwords are left out.
func (s Spec) Choices() []OptionChoice {
	plain := Spec{Name: s.Name, Source: s.Source, Target: s.Target}
	plain.setDefaults()
	defaults := plain.options()
	choices := []OptionChoice{}
	for _, o := range s.options() {
		for _, d := range defaults {
			if d.Option == o.Option {
				o.Default = d.Value
				break
			}
		}
		if o.Value != o.Default {
			choices = append(choices, o)
		}
	}
	for _, h := range s.Hypertables {
		choices = append(choices, OptionChoice{Option: "hypertables: " + h.Table, Value: h.words()})
	}
	if more := len(choices) - maxOptions; more > 0 {
		choices = append(choices[:maxOptions], OptionChoice{Option: fmt.Sprintf("%d more", more), Value: "see the spec"})
	}
	return choices
}

// options lists the spec's options by their keys, in the spec's order.
func (s Spec) options() []OptionChoice {
	s.Source, s.Target, s.Hypertables = Source{}, Endpoint{}, nil
	raw, err := json.Marshal(s)
	if err != nil {
		return nil // it was read from JSON
	}
	f := &flattener{tokens: json.NewDecoder(bytes.NewReader(raw))}
	f.tokens.UseNumber()
	f.value("")
	return f.found
}

// flattener reads an object, and lists its values under the keys that lead there.
type flattener struct {
	tokens *json.Decoder
	found  []OptionChoice
}

// unshown are the keys whose values say nothing of what was chosen, or could hold what only few should know.
const unshown = "name source target password key url admin"

func (f *flattener) value(at string) {
	token, err := f.tokens.Token()
	if err != nil {
		return
	}
	switch token {
	case json.Delim('{'):
		for f.tokens.More() {
			key, _ := f.tokens.Token() // Marshal's own output
			under := fmt.Sprint(key)
			seen := len(f.found)
			f.value(strings.TrimPrefix(at+"."+under, "."))
			if (at == "" || strings.HasPrefix(at, "cutover.switch")) && strings.Contains(" "+unshown+" ", " "+under+" ") {
				f.found = f.found[:seen]
			}
		}
		_, _ = f.tokens.Token()
	case json.Delim('['):
		var items []string
		for f.tokens.More() {
			item, _ := f.tokens.Token() // lists of options hold words only
			items = append(items, fmt.Sprint(item))
		}
		_, _ = f.tokens.Token()
		f.found = append(f.found, OptionChoice{Option: at, Value: strings.Join(items, ", ")})
	default:
		f.found = append(f.found, OptionChoice{Option: at, Value: fmt.Sprint(token)})
	}
}

func (h Hypertable) words() string {
	words := []string{"by " + h.TimeColumn, "chunks of " + h.ChunkInterval}
	if h.SpaceColumn != "" {
		words = append(words, fmt.Sprintf("%d space partitions by %s", h.SpacePartitions, h.SpaceColumn))
	}
	if h.ChangesKeys() {
		words = append(words, "keys without the time column: "+h.Key)
	}
	if c := h.Columnstore; c != nil {
		column := "columnstore"
		if len(c.SegmentBy) > 0 {
			column += " by " + strings.Join(c.SegmentBy, ", ")
		}
		if c.OrderBy != "" {
			column += " ordered by " + c.OrderBy
		}
		if c.After != "" {
			column += " after " + c.After
		}
		words = append(words, column)
	}
	if h.Retention != "" {
		words = append(words, "kept for "+h.Retention)
	}
	return strings.Join(words, "; ")
}
