// Package launch plans, launches and terminates the intermediate machine on EC2, and gives a worker on it its environment.
//
// In: an Order, with what rdsctl says of the database's network and what a person chose. Out: a Plan, which changes nothing; a
// running Machine with its own security group; or neither of them, after Terminate.
//
// Invariants: everything made carries the tags timeferry:migration and timeferry:machine, and nothing without them is ever
// terminated or deleted; a repeated launch, also after it died half way, ends with one machine; nothing secret is in user
// data; nothing is open to the network; a password never is in an error.
//
// Not here: which size fits (machine), anything about databases, and letting the machine in to one (rdsctl).
package launch
