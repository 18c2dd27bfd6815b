package workflows_test

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/temporal"

	"timeferry/internal/change"
	"timeferry/internal/contract"
)

// fakeActivities stands in for activities.Activities under the same names, in memory. It records the calls; before answers
// an activity's call with an error, or does something at that moment.
type fakeActivities struct {
	mu     sync.Mutex
	calls  []string
	before map[string]func(call int) error
	end    chan struct{} // ends the long ones when the test is over

	holding func() // told when the snapshot is to be held: sends the signal
	plan    contract.ParameterPlan
	lag     int64
	found   []contract.Problem
	differ  bool
	parts   int
	spared  []string // by the fence
	rule    contract.IngressRule
	window  func() contract.RebootWindow

	schema    contract.SchemaComparison
	newTables []string

	notAfter []*time.Time // what each reboot was asked with
}

func (f *fakeActivities) step(name string) error {
	f.mu.Lock()
	f.calls = append(f.calls, name)
	count := 0
	for _, c := range f.calls {
		if c == name {
			count++
		}
	}
	hook := f.before[name]
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(count)
}

func (f *fakeActivities) called(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, c := range f.calls {
		if c == name {
			n++
		}
	}
	return n
}

// long is an activity that runs until it is cancelled.
func (f *fakeActivities) long(ctx context.Context, name string) error {
	if err := f.step(name); err != nil {
		return err
	}
	return f.wait(ctx)
}

func (f *fakeActivities) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return temporal.NewCanceledError()
	case <-f.end:
		return nil
	}
}

func (f *fakeActivities) Inspect(context.Context, contract.Spec) (contract.Inspection, error) {
	return contract.Inspection{Instance: "shop-prod", Status: "available", Host: "shop.example", Port: 5432, MasterSecretARN: "arn:secret"}, f.step("Inspect")
}

func (f *fakeActivities) PlanParameters(context.Context, contract.Spec) (contract.ParameterPlan, error) {
	return f.plan, f.step("PlanParameters")
}

func (f *fakeActivities) Preflight(context.Context, contract.PreflightInput) (contract.PreflightResult, error) {
	return contract.PreflightResult{Problems: f.found, SourceVersion: "15.18", Tables: 3, Bytes: 100}, f.step("Preflight")
}

func (f *fakeActivities) CreateLedger(context.Context, contract.Spec) error {
	return f.step("CreateLedger")
}
func (f *fakeActivities) ApplyParameterGroup(context.Context, contract.ParameterInput) error {
	return f.step("ApplyParameterGroup")
}
func (f *fakeActivities) AttachParameterGroup(context.Context, contract.ParameterInput) error {
	return f.step("AttachParameterGroup")
}
func (f *fakeActivities) RebootSource(_ context.Context, in contract.RebootInput) error {
	f.mu.Lock()
	f.notAfter = append(f.notAfter, in.NotAfter)
	f.mu.Unlock()
	return f.step("RebootSource")
}
func (f *fakeActivities) WatchSource(ctx context.Context, _ contract.Spec) error {
	return f.long(ctx, "WatchSource")
}
func (f *fakeActivities) PlanWindow(context.Context, contract.Spec) (contract.RebootWindow, error) {
	return f.window(), f.step("PlanWindow")
}
func (f *fakeActivities) OpenIngress(context.Context, contract.Spec) (contract.IngressRule, error) {
	return f.rule, f.step("OpenIngress")
}
func (f *fakeActivities) CloseIngress(_ context.Context, in contract.IngressInput) error {
	return f.step("CloseIngress " + in.RuleID)
}
func (f *fakeActivities) VerifySource(_ context.Context, in contract.VerifyInput) error {
	return f.step("VerifySource")
}
func (f *fakeActivities) ClaimHost(context.Context, contract.Spec) (contract.HostClaim, error) {
	return contract.HostClaim{HostID: "h1"}, f.step("ClaimHost")
}
func (f *fakeActivities) PlanCopy(context.Context, contract.Spec) (contract.CopyStatus, error) {
	return contract.CopyStatus{Tables: 3, Parts: f.parts, Bytes: 100}, f.step("PlanCopy")
}
func (f *fakeActivities) FixIdentities(context.Context, contract.Spec) ([]contract.IdentityChoice, error) {
	return []contract.IdentityChoice{{Table: "public.log", Identity: "full", Changed: true}}, f.step("FixIdentities")
}
func (f *fakeActivities) CreatePublication(context.Context, contract.Spec) error {
	return f.step("CreatePublication")
}
func (f *fakeActivities) HoldSnapshot(ctx context.Context, _ contract.Spec) error {
	if err := f.step("HoldSnapshot"); err != nil {
		return err
	}
	f.holding() // after it is recorded: the story goes on at once
	return f.wait(ctx)
}
func (f *fakeActivities) Receive(ctx context.Context, _ contract.Spec) error {
	return f.long(ctx, "Receive")
}
func (f *fakeActivities) MigrateRoles(context.Context, contract.Spec) (contract.RolesResult, error) {
	return contract.RolesResult{Created: []string{"app"}, WithoutPassword: []string{"app"}}, f.step("MigrateRoles")
}
func (f *fakeActivities) DumpSchema(context.Context, contract.Spec) ([]contract.Problem, error) {
	return nil, f.step("DumpSchema")
}
func (f *fakeActivities) RestorePreData(context.Context, contract.Spec) error {
	return f.step("RestorePreData")
}
func (f *fakeActivities) MakeHypertables(context.Context, contract.Spec) ([]string, error) {
	return []string{"public.metrics"}, f.step("MakeHypertables")
}
func (f *fakeActivities) CopyParts(context.Context, contract.Spec) error { return f.step("CopyParts") }
func (f *fakeActivities) CopyProgress(context.Context, contract.Spec) (contract.CopyStatus, error) {
	done := f.parts
	if f.called("CopyParts")%4 != 0 || f.called("HoldSnapshot") > 1 && f.called("CopyParts") == 4 {
		done-- // a stream has failed: its part is open
	}
	return contract.CopyStatus{Tables: 3, TablesDone: 3, Parts: f.parts, PartsDone: done, Bytes: 100, BytesDone: 100, Rows: 7}, f.step("CopyProgress")
}
func (f *fakeActivities) RestorePostData(context.Context, contract.Spec) error {
	return f.step("RestorePostData")
}
func (f *fakeActivities) Apply(ctx context.Context, _ contract.Spec) error {
	return f.long(ctx, "Apply")
}
func (f *fakeActivities) WatchLag(ctx context.Context, input contract.LagInput) (contract.ReplicationStatus, error) {
	name := "WatchLag"
	if input.Seconds == 0 {
		name = "MeasureLag"
	} else if !input.UntilInSync {
		return contract.ReplicationStatus{}, f.long(ctx, "FollowLag")
	}
	err := f.step(name)
	return contract.ReplicationStatus{AppliedLSN: 5, LagBytes: f.lag, InSync: true}, err
}
func (f *fakeActivities) FinishSchema(context.Context, contract.Spec) ([]contract.Problem, error) {
	return nil, f.step("FinishSchema")
}
func (f *fakeActivities) CompareSchema(_ context.Context, in contract.SchemaInput) (contract.SchemaComparison, error) {
	return f.schema, f.step("CompareSchema")
}
func (f *fakeActivities) FindNewTables(context.Context, contract.Spec) ([]string, error) {
	err := f.step("FindNewTables")
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newTables, err
}
func (f *fakeActivities) Fence(context.Context, contract.Spec) (contract.FenceResult, error) {
	return contract.FenceResult{Ended: 2, Spared: f.spared}, f.step("Fence")
}
func (f *fakeActivities) Unfence(context.Context, contract.Spec) error {
	return f.step("Unfence")
}
func (f *fakeActivities) RestoreAtCutover(context.Context, contract.Spec) ([]contract.Problem, error) {
	return nil, f.step("RestoreAtCutover")
}
func (f *fakeActivities) EmitMarker(context.Context, contract.Spec) (change.LSN, error) {
	return 42, f.step("EmitMarker")
}
func (f *fakeActivities) Drain(context.Context, contract.DrainInput) (contract.ReplicationStatus, error) {
	return contract.ReplicationStatus{AppliedLSN: 42, InSync: true}, f.step("Drain")
}
func (f *fakeActivities) CopySequences(context.Context, contract.Spec) (int, error) {
	return 4, f.step("CopySequences")
}
func (f *fakeActivities) Compare(_ context.Context, in contract.CompareInput) (contract.Verification, error) {
	err := f.step("Compare")
	v := contract.Verification{Method: in.Method, Tables: 3, Rows: 7, Equal: true}
	if f.differ && f.called("Compare") == 1 {
		v.Equal, v.Differences = false, []contract.TableDifference{{Table: "public.t", Message: "3 rows on the source, 2 on the target"}}
	}
	return v, err
}
func (f *fakeActivities) CleanSource(context.Context, contract.UndoInput) (contract.UndoResult, error) {
	return contract.UndoResult{}, f.step("CleanSource")
}
func (f *fakeActivities) CleanTarget(_ context.Context, in contract.UndoInput) (contract.UndoResult, error) {
	name := "CleanTarget"
	if in.KeepTarget {
		name = "CleanLedger"
	}
	return contract.UndoResult{}, f.step(name)
}
func (f *fakeActivities) RemoveSpool(context.Context, contract.Spec) error {
	return f.step("RemoveSpool")
}
