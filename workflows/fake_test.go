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

	holding   func() // told when the snapshot is to be held: sends the signal
	lettingGo func() // before the holding ends; nil: it ends at once
	plan      contract.ParameterPlan
	lag       int64
	found     []contract.Problem
	differ    bool
	parts     int
	spared    []string // by the fence
	rule      contract.IngressRule
	window    func() contract.RebootWindow

	switching fakeSwitch
	stuck     string // the activity that does not end by itself
	checks    []contract.ReadinessCheck

	schema     contract.SchemaComparison
	alarms     []contract.Problem // of the slot
	newTables  []string
	looks      []contract.LagInput // at the stream while it is in sync
	earlyLooks int                 // how many of them new tables end
	watched    contract.SchemaWatch

	notAfter []*time.Time // what each reboot was asked with
	after    []int        // what each holder of the snapshot was asked with

	leftovers []contract.Leftover      // what is found after everything was undone
	openRules int                      // how often a rule of the security group is found then
	sought    []contract.LeftoverInput // how it was asked for

	stream   func(context.Context, contract.CopyInput) (contract.CopyResult, error)      // a stream of the copy; nil: it finds nothing to do
	building func()                                                                      // told when indexes are built, which then takes until it is cancelled; nil: it ends at once
	barriers []contract.BarrierInput                                                     // what was compared at barriers
	barrier  func(context.Context, contract.BarrierInput) (contract.Verification, error) // nil: equal
	steered  []contract.Steering                                                         // what was put into force
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
	return contract.PreflightResult{Problems: f.found, SourceVersion: "15.18", Tables: 3, Bytes: 100, MostStreams: 40, TargetConnections: contract.Connections{Room: 60, PerStream: 2}}, f.step("Preflight")
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
func (f *fakeActivities) HoldSnapshot(ctx context.Context, in contract.HoldInput) error {
	f.mu.Lock()
	f.after = append(f.after, in.After)
	f.mu.Unlock()
	if err := f.step("HoldSnapshot"); err != nil {
		return err
	}
	f.holding() // after it is recorded: the story goes on at once
	err := f.wait(ctx)
	if f.lettingGo != nil {
		f.lettingGo()
	}
	return err
}
func (f *fakeActivities) HoldSnapshotCopy(ctx context.Context, _ contract.Spec) error {
	return f.long(ctx, "HoldSnapshotCopy")
}
func (f *fakeActivities) Receive(ctx context.Context, spec contract.Spec) error {
	return f.long(ctx, onSide(spec, "Receive"))
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
func (f *fakeActivities) CopyParts(ctx context.Context, in contract.CopyInput) (contract.CopyResult, error) {
	if err := f.step("CopyParts"); err != nil || f.stream == nil {
		return contract.CopyResult{}, err
	}
	return f.stream(ctx, in)
}
func (f *fakeActivities) Steer(_ context.Context, in contract.SteerInput) error {
	err := f.step("Steer")
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.steered = append(f.steered, in.Steering)
	}
	return err
}
func (f *fakeActivities) steering() contract.Steering {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.steered) == 0 {
		return contract.Steering{}
	}
	return f.steered[len(f.steered)-1]
}
func (f *fakeActivities) CopyProgress(context.Context, contract.Spec) (contract.CopyStatus, error) {
	done := f.parts
	if f.stream == nil && (f.called("CopyParts")%4 != 0 || f.called("HoldSnapshot") > 1 && f.called("CopyParts") == 4) {
		done-- // a stream has failed: its part is open
	}
	return contract.CopyStatus{Tables: 3, TablesDone: 3, Parts: f.parts, PartsDone: done, Bytes: 100, BytesDone: 100, Rows: 7}, f.step("CopyProgress")
}
func (f *fakeActivities) BuildIndexes(ctx context.Context, _ contract.Spec) (contract.IndexStatus, error) {
	stand := contract.IndexStatus{Indexes: 4, IndexesDone: 3}
	if err := f.step("BuildIndexes"); err != nil || f.building == nil {
		return stand, err
	}
	f.building()
	return stand, f.wait(ctx)
}
func (f *fakeActivities) RestorePostData(context.Context, contract.Spec) error {
	return f.step("RestorePostData")
}
func (f *fakeActivities) Apply(ctx context.Context, spec contract.Spec) error {
	return f.long(ctx, onSide(spec, "Apply"))
}
func (f *fakeActivities) WatchLag(ctx context.Context, input contract.LagInput) (contract.LagWatch, error) {
	name := "WatchLag"
	if input.Seconds == 0 {
		name = onSide(input.Spec, "MeasureLag")
	} else if !input.UntilInSync {
		return f.followLag(ctx, input)
	}
	err := f.step(name)
	return contract.LagWatch{ReplicationStatus: contract.ReplicationStatus{AppliedLSN: 5, LagBytes: f.lag, InSync: true}}, err
}
func (f *fakeActivities) followLag(ctx context.Context, input contract.LagInput) (contract.LagWatch, error) {
	f.mu.Lock()
	f.looks = append(f.looks, input)
	early := len(f.looks) <= f.earlyLooks
	f.mu.Unlock()
	if early {
		return contract.LagWatch{NewTables: true}, f.step(onSide(input.Spec, "FollowLag"))
	}
	return contract.LagWatch{}, f.long(ctx, onSide(input.Spec, "FollowLag"))
}
func (f *fakeActivities) WatchSlot(ctx context.Context, input contract.SlotWatch) (contract.SlotAlarms, error) {
	err := f.step(onSide(input.Spec, "WatchSlot"))
	f.mu.Lock()
	alarms := f.alarms
	f.mu.Unlock()
	if err != nil || len(alarms) != len(input.Known) {
		return contract.SlotAlarms{Problems: alarms}, err
	}
	return contract.SlotAlarms{}, f.wait(ctx)
}
func (f *fakeActivities) StartOver(_ context.Context, in contract.ResyncInput) (contract.CopyStatus, error) {
	f.mu.Lock()
	f.after = append(f.after, in.After)
	f.mu.Unlock()
	return contract.CopyStatus{Tables: 3, Parts: f.parts, Bytes: 100}, f.step("StartOver")
}
func (f *fakeActivities) FinishSchema(context.Context, contract.Spec) ([]contract.Problem, error) {
	return nil, f.step("FinishSchema")
}
func (f *fakeActivities) CompareSchema(_ context.Context, in contract.SchemaInput) (contract.SchemaComparison, error) {
	return f.schema, f.step("CompareSchema")
}
func (f *fakeActivities) FindNewTables(_ context.Context, spec contract.Spec) ([]string, error) {
	err := f.step(onSide(spec, "FindNewTables"))
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.newTables, err
}
func (f *fakeActivities) WatchSchema(_ context.Context, in contract.SchemaWatchInput) (contract.SchemaWatch, error) {
	err := f.step("WatchSchema")
	f.mu.Lock()
	defer f.mu.Unlock()
	w := f.watched
	w.NewTables, w.Followed = f.newTables, w.Followed[min(in.Followed, len(w.Followed)):]
	return w, err
}
func (f *fakeActivities) ListSchemaChanges(_ context.Context, in contract.SchemaWatchInput) ([]contract.SchemaChange, error) {
	err := f.step("ListSchemaChanges")
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.watched.Followed[min(in.Followed, len(f.watched.Followed)):], err
}
func (f *fakeActivities) JoinTables(context.Context, contract.Spec) (contract.JoinResult, error) {
	err := f.step("JoinTables")
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.watched.Joining)
	f.watched.Joining = nil
	return contract.JoinResult{Tables: n, Copy: contract.CopyStatus{Tables: 3 + n, Parts: f.parts + n, PartsDone: f.parts}}, err
}
func (f *fakeActivities) DumpJoining(context.Context, contract.Spec) error {
	return f.step("DumpJoining")
}
func (f *fakeActivities) SettleTables(context.Context, contract.Spec) error {
	return f.step("SettleTables")
}
func (f *fakeActivities) CutOff(ctx context.Context, in contract.CutOffInput) (contract.CutOffResult, error) {
	f.switching.raise(in)
	name := onSide(in.Spec, "CutOff")
	err := f.step(name)
	if f.stuck == name && err == nil {
		err = f.wait(ctx)
	}
	steps := []contract.StepTime{{Step: "fence", MS: 5, AtMS: 3}, {Step: "marker", MS: 1, AtMS: 8}, {Step: "sequences", MS: 2, AtMS: 9}, {Step: "drain", MS: 4, AtMS: 9}}
	return contract.CutOffResult{Token: "t", MarkerLSN: 42, Replication: contract.ReplicationStatus{AppliedLSN: 42, InSync: true}, Sequences: 4, Spared: f.spared, Steps: steps, Pending: f.switching.pending,
		Ended: []contract.SessionGroup{{User: "app", Count: 2}}}, err
}
func (f *fakeActivities) HandOver(_ context.Context, in contract.HandOverInput) (contract.HandOverResult, error) {
	if err := f.step("HandOver"); err != nil {
		return contract.HandOverResult{}, err
	}
	err := f.switching.handOver(in)
	return contract.HandOverResult{Steps: []contract.StepTime{{Step: "seal", MS: 1}}, Switch: f.switching.words}, err
}
func (f *fakeActivities) TakeBack(_ context.Context, in contract.TakeBackInput) (contract.TakeBackResult, error) {
	if err := f.step(onSide(in.Spec, "TakeBack")); err != nil {
		return contract.TakeBackResult{}, err
	}
	return f.switching.takeBack(in), nil
}
func (f *fakeActivities) RestoreAtCutover(context.Context, contract.Spec) ([]contract.Problem, error) {
	return nil, f.step("RestoreAtCutover")
}
func (f *fakeActivities) CheckReadiness(context.Context, contract.ReadinessInput) (contract.Readiness, error) {
	r := contract.Readiness{Ready: true, EstimatedMS: 300, Estimate: "300ms for the steps"}
	for _, c := range f.checks {
		r.Add(c)
	}
	return r, f.step("CheckReadiness")
}
func (f *fakeActivities) Compare(_ context.Context, in contract.CompareInput) (contract.Verification, error) {
	err := f.step("Compare")
	v := contract.Verification{Method: in.Method, Tables: 3, Rows: 7, Equal: true}
	if f.differ && f.called("Compare") == 1 {
		v.Equal, v.Differences = false, []contract.TableDifference{{Table: "public.t", Message: "3 rows on the source, 2 on the target"}}
	}
	return v, err
}
func (f *fakeActivities) CompareTouched(_ context.Context, in contract.CompareInput) (contract.Verification, error) {
	err := f.step(onSide(in.Spec, "CompareTouched"))
	v := contract.Verification{Method: in.Method, Tables: 3, Rows: 7, Equal: true}
	if f.differ && f.called("CompareTouched") == 1 {
		v.Equal, v.Differences = false, []contract.TableDifference{{Table: "public.t", Message: "3 rows on the source, 2 on the target"}}
	}
	return v, err
}
func (f *fakeActivities) CompareAtBarrier(ctx context.Context, in contract.BarrierInput) (contract.Verification, error) {
	f.mu.Lock()
	f.barriers = append(f.barriers, in)
	f.mu.Unlock()
	if err := f.step(onSide(in.Spec, "CompareAtBarrier")); err != nil {
		return contract.Verification{}, err
	}
	v := contract.Verification{Method: in.Method, Tables: 3, Rows: 9, Equal: true}
	if f.barrier != nil {
		return f.barrier(ctx, in)
	}
	return v, nil
}
func (f *fakeActivities) CleanSource(_ context.Context, in contract.UndoInput) (contract.UndoResult, error) {
	return contract.UndoResult{}, f.step(onSide(in.Spec, "CleanSource"))
}
func (f *fakeActivities) CleanTarget(_ context.Context, in contract.UndoInput) (contract.UndoResult, error) {
	name := "CleanTarget"
	if in.KeepTarget {
		name = "CleanLedger"
	}
	return contract.UndoResult{}, f.step(onSide(in.Spec, name))
}
func (f *fakeActivities) FindLeftovers(_ context.Context, in contract.LeftoverInput) (contract.Leftovers, error) {
	err := f.step("FindLeftovers")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sought = append(f.sought, in)
	return contract.Leftovers{Sought: []string{"everything"}, Found: f.leftovers}, err
}
func (f *fakeActivities) FindRules(_ context.Context, in contract.Spec) (contract.Leftovers, error) {
	err := f.step("FindRules")
	found := contract.Leftovers{Sought: []string{"rules"}}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.openRules > 0 {
		f.openRules--
		found.Found = []contract.Leftover{{Thing: "rule of " + in.Prepare.SecurityGroup}}
	}
	return found, err
}
func (f *fakeActivities) FindFiles(context.Context, contract.Spec) (contract.Leftovers, error) {
	return contract.Leftovers{Sought: []string{"files"}}, f.step("FindFiles")
}
func (f *fakeActivities) RemoveSpool(_ context.Context, spec contract.Spec) error {
	return f.step(onSide(spec, "RemoveSpool"))
}

func (f *fakeActivities) PrepareBack(context.Context, contract.Spec) (contract.BackPlan, error) {
	return contract.BackPlan{Plugin: "wal2json", Slot: "timeferry_shop_back"}, f.step("PrepareBack")
}
func (f *fakeActivities) BeginBack(context.Context, contract.Spec) (change.LSN, error) {
	return 77, f.step("BeginBack")
}
func (f *fakeActivities) HandBack(_ context.Context, in contract.HandOverInput) (contract.HandOverResult, error) {
	if err := f.step("HandBack"); err != nil {
		return contract.HandOverResult{}, err
	}
	problems, err := f.switching.handBack()
	return contract.HandOverResult{Steps: []contract.StepTime{{Step: "seal", MS: 1}, {Step: "open", MS: 1}}, Problems: problems}, err
}
func (f *fakeActivities) EmitMarker(_ context.Context, spec contract.Spec) (change.LSN, error) {
	return 80, f.step(onSide(spec, "EmitMarker"))
}
func (f *fakeActivities) Drain(_ context.Context, in contract.DrainInput) (contract.ReplicationStatus, error) {
	return contract.ReplicationStatus{AppliedLSN: 80, InSync: true}, f.step(onSide(in.Spec, "Drain"))
}
func (f *fakeActivities) Unfence(context.Context, contract.Spec) error {
	err := f.step("Unfence")
	if err == nil {
		f.switching.open()
	}
	return err
}

// onSide tells the calls of the way back, whose ends are exchanged, from the others.
func onSide(spec contract.Spec, name string) string {
	if spec.IsBack() {
		return name + " back"
	}
	return name
}
