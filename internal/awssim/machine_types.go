package awssim

import (
	"slices"
	"strings"
)

// Architectures in EC2's words.
const (
	archAMD64 = "x86_64"
	archARM64 = "arm64"
)

// machineType is one EC2 instance type.
type machineType struct {
	name         string
	cpus         int
	memoryMiB    int
	architecture string
}

// machineFamilies are the families with sizes in even steps: memory goes with the CPUs.
var machineFamilies = []struct {
	name         string
	gibPerCPU    int
	architecture string
}{
	{"c6g", 2, archARM64}, {"c6i", 2, archAMD64}, {"c7g", 2, archARM64}, {"c7i", 2, archAMD64},
	{"m5", 4, archAMD64}, {"m6g", 4, archARM64}, {"m6i", 4, archAMD64}, {"m7g", 4, archARM64}, {"m7i", 4, archAMD64},
	{"r6g", 8, archARM64}, {"r6i", 8, archAMD64}, {"r7g", 8, archARM64}, {"r7i", 8, archAMD64},
}

var machineSizes = []struct {
	name string
	cpus int
}{{"large", 2}, {"xlarge", 4}, {"2xlarge", 8}, {"4xlarge", 16}, {"8xlarge", 32}, {"12xlarge", 48}, {"16xlarge", 64}, {"24xlarge", 96}}

// smallMachines are the burstable ones, in MiB.
var smallMachines = []machineType{{"t3.micro", 2, 1024, archAMD64}, {"t3.small", 2, 2048, archAMD64}, {"t3.medium", 2, 4096, archAMD64},
	{"t3.large", 2, 8192, archAMD64}, {"t3.xlarge", 4, 16384, archAMD64}, {"t3.2xlarge", 8, 32768, archAMD64}}

// machineTypes gives all types in the order of their names. The sizes that a family of ARM processors lacks are left out.
func machineTypes() []machineType {
	out := slices.Clone(smallMachines)
	for _, family := range machineFamilies {
		for _, size := range machineSizes {
			if family.architecture == archARM64 && size.name == "24xlarge" {
				continue
			}
			out = append(out, machineType{family.name + "." + size.name, size.cpus, size.cpus * family.gibPerCPU * 1024, family.architecture})
		}
	}
	slices.SortFunc(out, func(a, b machineType) int { return strings.Compare(a.name, b.name) })
	return out
}

func findMachineType(name string) (machineType, bool) {
	all := machineTypes()
	i := slices.IndexFunc(all, func(x machineType) bool { return x.name == name })
	if i < 0 {
		return machineType{}, false
	}
	return all[i], true
}

type machineTypeXML struct {
	Name         string   `xml:"instanceType"`
	Current      bool     `xml:"currentGeneration"`
	CPUs         int      `xml:"vCpuInfo>defaultVCpus"`
	MemoryMiB    int      `xml:"memoryInfo>sizeInMiB"`
	Architecture []string `xml:"processorInfo>supportedArchitectures>item"`
	Burstable    bool     `xml:"burstablePerformanceSupported"`
}

type describeMachineTypesResult struct {
	NextToken string           `xml:"nextToken,omitempty"`
	Types     []machineTypeXML `xml:"instanceTypeSet>item"`
}

func (s *Simulator) describeMachineTypes(c call) (any, error) {
	filters, err := ec2Filters(c.form, "instance-type", "processor-info.supported-architecture", "current-generation")
	if err != nil {
		return nil, err
	}
	wanted := plainList(c.form, "InstanceType")
	var unknown []string
	for _, name := range wanted {
		if _, known := findMachineType(name); !known {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return nil, refuse("InvalidInstanceType", "The following supplied instance types do not exist: [%s]", strings.Join(unknown, ", "))
	}
	var all []machineTypeXML
	for _, x := range machineTypes() {
		attributes := map[string]string{"instance-type": x.name, "processor-info.supported-architecture": x.architecture, "current-generation": "true"}
		if (len(wanted) == 0 || slices.Contains(wanted, x.name)) && passes(filters, attributes, nil) {
			all = append(all, machineTypeXML{x.name, true, x.cpus, x.memoryMiB, []string{x.architecture}, strings.HasPrefix(x.name, "t")})
		}
	}
	part, token, err := ec2Page(c.form, all)
	return describeMachineTypesResult{NextToken: token, Types: part}, err
}
