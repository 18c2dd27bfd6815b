package awssim

import (
	"fmt"
	"slices"
	"strconv"
)

type engineVersionXML struct {
	Engine                 string
	EngineVersion          string
	MajorEngineVersion     string
	DBParameterGroupFamily string
	DBEngineDescription    string
	Status                 string
}

type describeEngineVersionsResult struct {
	Marker   string             `xml:",omitempty"`
	Versions []engineVersionXML `xml:"DBEngineVersions>DBEngineVersion"`
}

// describeEngineVersions offers minor versions 1 to 23 of each major; RDS does not offer x.0 and retires old ones.
func (s *Simulator) describeEngineVersions(c call) (any, error) {
	var all []engineVersionXML
	for _, family := range families() {
		engine, major := engineOf(family)
		for minor := 1; minor <= 23; minor++ {
			v := engineVersionXML{Engine: engine, EngineVersion: fmt.Sprintf("%d.%d", major, minor), MajorEngineVersion: strconv.Itoa(major),
				DBParameterGroupFamily: family, DBEngineDescription: engine, Status: "available"}
			if matches(c.get("Engine"), v.Engine) && matches(c.get("DBParameterGroupFamily"), v.DBParameterGroupFamily) &&
				matches(c.get("EngineVersion"), v.EngineVersion, v.MajorEngineVersion) {
				all = append(all, v)
			}
		}
	}
	part, marker, err := page(c.form, all)
	return describeEngineVersionsResult{Marker: marker, Versions: part}, err
}

// matches says whether a filter is absent or equals one of the values.
func matches(filter string, values ...string) bool {
	return filter == "" || slices.Contains(values, filter)
}
