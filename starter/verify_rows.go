package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"

	"timeferry/internal/contract"
	"timeferry/internal/sealed"
)

// verifyFlags are those of the verify command.
type verifyFlags struct {
	schema, noWait bool
	format         string
	note           contract.Note
}

func verifyCommand(out io.Writer) *cobra.Command {
	var f verifyFlags
	c := &cobra.Command{
		Use:   contract.SignalVerify + " NAME",
		Short: "Compare both sides now, while both go on",
		Long: `Compare both sides now, at one position of the change stream, while the application and the stream go on.

Only what was touched since the last comparison is read again, unless --full asks for everything. The command waits for the end,
and fails when something differs. Rows that differ are named by hashes of their keys; --show-values keeps their values in the
bookkeeping on the target and prints them.`,
		Args: oneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			if problem := f.note.VerifyProblem(); problem != "" {
				return usage(fmt.Errorf("--table: %s", problem))
			}
			return withClient(cmd, func(c client.Client) error {
				if f.schema {
					return verifySchema(cmd.Context(), out, c, args[0], f.format)
				}
				return verifyRows(cmd.Context(), out, c, args[0], f)
			})
		},
	}
	c.Flags().BoolVar(&f.schema, "schema", false, "compare the schemas only: every definition on both sides")
	c.Flags().StringArrayVar(&f.note.Tables, "table", nil, "compare this table only, schema.table with * and ?; may be given again")
	c.Flags().BoolVar(&f.note.Full, "full", false, "compare also what was found equal before and not touched since")
	c.Flags().BoolVar(&f.note.ShowValues, "show-values", false, "keep the values of differing rows in the bookkeeping on the target, and print them")
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "order it, and do not wait for its end")
	c.Flags().StringVar(&f.note.By, "by", "", "who orders it, for the record")
	c.Flags().StringVar(&f.note.Reason, "reason", "", "why, for the record")
	c.MarkFlagsMutuallyExclusive("schema", "table")
	c.MarkFlagsMutuallyExclusive("schema", "full")
	c.MarkFlagsMutuallyExclusive("schema", "show-values")
	outputFlag(c, &f.format)
	return c
}

// verifyRows orders a comparison of the rows, and waits for its end.
func verifyRows(ctx context.Context, out io.Writer, c client.Client, name string, f verifyFlags) error {
	told := out
	if f.format == "json" {
		told = io.Discard // only the result is printed
	}
	answer, err := updateWorkflow(ctx, c, name, contract.SignalVerify, f.note)
	if err != nil {
		return explainOrder(name, contract.SignalVerify, err)
	}
	fmt.Fprintf(told, "%s: %s %s\n", name, contract.SignalVerify, answer)
	run := strings.TrimPrefix(answer, "accepted as ")
	if f.noWait {
		return nil
	}
	ended, err := awaitRun(ctx, told, c, name, run)
	if err != nil {
		return failed(err)
	}
	if ended.State == contract.VerifyFailed {
		return failed(fmt.Errorf("%s could not be made: %s", run, ended.Message))
	}
	if f.format == "json" {
		if err := printJSON(out, ended.Result); err != nil {
			return failed(err)
		}
	} else {
		printVerification(out, *ended.Result)
	}
	if ended.State != contract.VerifyDiffers {
		return nil
	}
	if f.note.ShowValues && f.format != "json" {
		if err := showValues(ctx, out, c, name, run); err != nil {
			return failed(err)
		}
	}
	return failed(fmt.Errorf("%d tables differ", len(ended.Result.Differences)))
}

// awaitRun follows a comparison to its end.
func awaitRun(ctx context.Context, out io.Writer, c client.Client, name, run string) (contract.VerifyRun, error) {
	last := ""
	for {
		s, err := readStatus(ctx, c, name)
		if err != nil {
			return contract.VerifyRun{}, err
		}
		r, found := runOf(s.Status, run)
		if !found {
			return r, fmt.Errorf("%s is not known to the migration any more (phase %s)", run, s.Phase)
		}
		switch r.State {
		case contract.VerifyEqual, contract.VerifyDiffers, contract.VerifyFailed:
			return r, nil
		}
		switch s.Phase {
		case contract.PhaseAborted, contract.PhaseCompleted, contract.PhaseFailed:
			return r, fmt.Errorf("the migration has ended (%s)", s.Phase)
		}
		if line := verifyLine(s.Status); line != last && line != "" {
			fmt.Fprintln(out, line)
			last = line
		}
		select {
		case <-ctx.Done():
			return r, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func runOf(s contract.Status, run string) (contract.VerifyRun, bool) {
	if s.Verify == nil {
		return contract.VerifyRun{}, false
	}
	i := slices.IndexFunc(s.Verify.Runs, func(r contract.VerifyRun) bool { return r.Run == run })
	if i < 0 {
		return contract.VerifyRun{}, false
	}
	return s.Verify.Runs[i], true
}

// verifyLine is the comparison under way in one line, "" when there is none.
func verifyLine(s contract.Status) string {
	if s.Verify == nil {
		return ""
	}
	i := slices.IndexFunc(s.Verify.Runs, func(r contract.VerifyRun) bool { return r.State == contract.VerifyRunning })
	if i < 0 {
		return ""
	}
	words := []string{"verifying (" + s.Verify.Runs[i].Run + ")"}
	if p := s.Verify.Progress; p != nil && p.Run == s.Verify.Runs[i].Run {
		if p.Tables > 0 {
			words = append(words, bar(p.BytesDone, p.Bytes), fmt.Sprintf("%d/%d tables, %d rows", p.TablesDone, p.Tables, p.Rows), "at "+p.BarrierLSN.String())
		}
		words = append(words, p.Message)
	}
	return joined(words)
}

// printVerify shows the comparison under way and the last one in a status.
func printVerify(out io.Writer, s contract.Status) {
	if line := verifyLine(s); line != "" {
		fmt.Fprintln(out, line)
	}
	if s.Verify == nil {
		return
	}
	for _, r := range slices.Backward(s.Verify.Runs) {
		if r.Result != nil {
			fmt.Fprintf(out, "%s (%s): %s\n", r.Run, r.Why, verificationWords(*r.Result))
			return
		}
	}
}

// verificationWords is a comparison in one line.
func verificationWords(v contract.Verification) string {
	verdict := "equal"
	if !v.Equal || v.UnequalCount > 0 {
		verdict = "NOT equal"
	}
	words := []string{verdict + " by " + v.Method, fmt.Sprintf("%d tables, %d rows, %s read in %.1f s", v.Tables, v.Rows, size(v.Bytes), v.Seconds)}
	if v.BarrierLSN != 0 {
		words = append(words, "at "+v.BarrierLSN.String())
	}
	if v.Relied > 0 {
		words = append(words, fmt.Sprintf("%d tables rest in part on barriers from %s on", v.Relied, v.ReliedLSN))
	}
	if v.UnverifiedCount > 0 {
		words = append(words, fmt.Sprintf("%d tables UNVERIFIED", v.UnverifiedCount))
	}
	return joined(words)
}

// printVerification shows a comparison whole.
func printVerification(out io.Writer, v contract.Verification) {
	fmt.Fprintln(out, verificationWords(v))
	if v.HeldMS > 0 {
		fmt.Fprintf(out, "the stream was held for %d ms at most\n", v.HeldMS)
	}
	if v.Relied > 0 {
		fmt.Fprintf(out, "of %d tables some part was not read: it was found equal at a barrier before, and no applied change touched it since;\n"+
			"what others wrote to the target meanwhile is seen with --full only\n", v.Relied)
	}
	for _, t := range v.Verdicts {
		verdict := "equal"
		switch {
		case !t.Equal:
			verdict = "DIFFERS"
		case t.Unverified:
			verdict = "unverified"
		}
		how := "whole"
		switch {
		case t.Whole:
		case t.ReliedLSN != 0 && t.Bytes == 0:
			how = "untouched since " + t.ReliedLSN.String()
		case t.ReliedLSN != 0:
			how = "what was touched since " + t.ReliedLSN.String()
		default:
			how = "in part"
		}
		fmt.Fprintf(out, "  %-10s  %-40s  %d rows, %s\n", verdict, t.Table, t.Rows, how)
	}
	if more := v.Tables - len(v.Verdicts); more > 0 {
		fmt.Fprintf(out, "  and %d more\n", more)
	}
	for _, d := range v.Differences {
		fmt.Fprintf(out, "\n%s: %s\n", d.Table, d.Message)
		for _, r := range d.Rows {
			columns := ""
			if len(r.Columns) > 0 {
				columns = ": " + strings.Join(r.Columns, ", ")
			}
			fmt.Fprintf(out, "  key hash %s %s%s\n", r.KeyHash, r.What, columns)
		}
	}
	if v.UnverifiedCount > 0 {
		fmt.Fprintf(out, "\nUnverified: %s\n", strings.Join(v.Unverified, ", "))
	}
}

// showValues prints the rows that differ with their values. They come through a workflow of their own, sealed for a key that
// nobody but this process has: no history tells them.
func showValues(ctx context.Context, out io.Writer, c client.Client, name, run string) error {
	spec, err := specOf(ctx, c, name)
	if err != nil {
		return err
	}
	key, err := sealed.NewKey()
	if err != nil {
		return err
	}
	started, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: contract.WorkflowID(name) + "_differences", TaskQueue: contract.TaskQueue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING},
		contract.ShowDifferencesType, contract.ShowDifferencesInput{Spec: spec, Run: run, PublicKey: key.Public()})
	if err != nil {
		return fmt.Errorf("ask for the values: %w", err)
	}
	var box contract.SealedRows
	if err := started.Get(ctx, &box); err != nil {
		return fmt.Errorf("read the values: %s", reason(err))
	}
	var rows []contract.DifferingRow
	if err := key.Open(box.Sealed, &rows); err != nil {
		return err
	}
	printValues(out, rows)
	return nil
}

func printValues(out io.Writer, rows []contract.DifferingRow) {
	for _, r := range rows {
		fmt.Fprintf(out, "\n%s %s\n", r.Table, r.What)
		if r.Key != nil {
			fmt.Fprintf(out, "  key %s\n", *r.Key)
		}
		columns := r.Columns
		if len(columns) == 0 {
			columns = slices.Sorted(maps.Keys(r.Source))
			if len(columns) == 0 {
				columns = slices.Sorted(maps.Keys(r.Target))
			}
		}
		for _, column := range columns {
			fmt.Fprintf(out, "  %s\n      source: %s\n      target: %s\n", column, value(r.Source, column), value(r.Target, column))
		}
	}
}

func value(row map[string]*string, column string) string {
	if row == nil {
		return "–"
	}
	if v := row[column]; v != nil {
		return *v
	}
	return "NULL"
}
