package capture

import (
	"context"

	"timeferry/internal/change"
	"timeferry/internal/ident"
)

// Plugins that can be received from.
const (
	pgoutputPlugin = "pgoutput"
	wal2jsonPlugin = "wal2json"
)

// plugin is one way in which the source words its changes. A plugin belongs to one session with the slot and may remember
// what came before.
type plugin interface {
	// options are the plugin's, names and values in turn. For a stream they may ask for transactions before they commit.
	options(stream bool) []string
	// peekFunction is the SQL function that shows what comes next without taking it.
	peekFunction() string
	// translate hands the messages of pgoutput, protocol version 1, that say what raw says to put, which copies them.
	// While skip is true, only begins and commits are needed. at is the message's position.
	translate(at change.LSN, raw []byte, skip bool, put func(msg []byte) error) error
}

// pluginName is what the slot must have been made with.
func (r *Receiver) pluginName() string {
	if r.Plugin == "" {
		return pgoutputPlugin
	}
	return r.Plugin
}

// newPlugin is the plugin that the receiver is set to, for one session with a server of this version.
func (r *Receiver) newPlugin(ctx context.Context, serverVersion int) plugin {
	if r.pluginName() == wal2jsonPlugin {
		return r.newJSON(ctx)
	}
	return pgoutputMessages{publications: r.Publications, version: serverVersion, localOnly: r.LocalOnly}
}

// pgoutputMessages asks for text, since the target's types may differ in their binary form, and for protocol version 1, or 2 with
// large transactions under way where a stream can have that.
type pgoutputMessages struct {
	publications []string
	version      int
	localOnly    bool
}

// First server_version_num with an option.
const (
	inProgressVersion = 140000
	messagesVersion   = 140000
	originVersion     = 160000
)

func (p pgoutputMessages) options(stream bool) []string {
	o := []string{"proto_version", "1", "publication_names", ident.Columns(p.publications)}
	if stream && p.version >= inProgressVersion {
		o[1] = "2"
		o = append(o, "streaming", "on")
	}
	if p.version >= messagesVersion {
		o = append(o, "messages", "true")
	}
	if p.version >= originVersion && p.localOnly {
		o = append(o, "origin", "none")
	}
	return o
}

func (pgoutputMessages) peekFunction() string { return "pg_logical_slot_peek_binary_changes" }

func (pgoutputMessages) translate(_ change.LSN, raw []byte, _ bool, put func([]byte) error) error {
	return put(raw)
}
