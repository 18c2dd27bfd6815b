package machine

// Limits lets a test read a made-up tree.
func Limits(root string) (cpus int, memory int64, err error) {
	l, err := readLimits(root)
	return l.cpus, l.memory, err
}
