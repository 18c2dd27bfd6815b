package activities

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/config"
	"timeferry/internal/contract"
	"timeferry/internal/target/provision"
)

// SetPasswords sets the passwords of migrated roles on the target. They are read on this worker and stay here: the server gets
// verifiers, the result names roles only.
//
//	Does: ALTER ROLE … PASSWORD for each, in a transaction of its own.
//	Safe to repeat because: the same password is set again.
//	Heartbeats: nothing of its own.
//	Undone by: nothing; a person sets another password.
func (a *Activities) SetPasswords(ctx context.Context, input contract.SetPasswordsInput) (out contract.PasswordsResult, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		found, err := config.RolePasswords(ctx, input.From, lazySecrets{a, input.Spec})
		if err != nil {
			return err
		}
		chosen, absent := choosePasswords(found, input.Roles)
		return a.withTarget(ctx, input.Spec, "passwords", func(target *pgx.Conn) error {
			expected, known, err := provision.WithoutPassword(ctx, target, input.Spec.Name, input.Expected)
			if err != nil {
				return err
			}
			done, err := provision.SetPasswords(ctx, target, chosen, provision.PasswordOptions{Admin: input.Spec.Target.User, DryRun: input.DryRun})
			out = contract.PasswordsResult{Set: done.Set, Missing: done.Missing, Refused: append(absent, done.Refused...), Unnamed: []string{},
				UnnamedUnknown: !known && input.Expected == nil}
			for _, role := range expected {
				if _, named := found[role]; !named {
					out.Unnamed = append(out.Unnamed, role)
				}
			}
			return err
		})
	})
	return out, err
}

// choosePasswords keeps the roles that were asked for; nobody asked for one: all. absent have no password there.
func choosePasswords(found map[string]string, roles []string) (chosen map[string]string, absent []contract.RefusedPassword) {
	if len(roles) == 0 {
		return found, nil
	}
	chosen = map[string]string{}
	for _, role := range slices.Compact(slices.Sorted(slices.Values(roles))) {
		password, ok := found[role]
		if !ok {
			absent = append(absent, contract.RefusedPassword{Role: role, Reason: "no password is given for it there"})
			continue
		}
		chosen[role] = password
	}
	return chosen, absent
}
