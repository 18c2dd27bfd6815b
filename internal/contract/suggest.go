package contract

// SuggestType is the workflow that proposes hypertables, and changes nothing.
const SuggestType = "Suggest"

// HypertableSuggestion is a table that may be worth a hypertable, as it would stand in the spec, and why. Its Key is empty
// where a person must choose; Choices then say what.
type HypertableSuggestion struct {
	Hypertable Hypertable `json:"hypertable"`
	Reasons    []string   `json:"reasons"`
	Choices    []string   `json:"choices,omitempty"`
}
