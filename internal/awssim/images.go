package awssim

import (
	"fmt"
	"strings"
)

// addPublicImages makes the AMIs of Ubuntu 24.04, and the parameters that name them.
func (s *Simulator) addPublicImages() {
	for word, image := range map[string]struct{ id, architecture string }{
		"amd64": {"ami-0a240400000000001", archAMD64}, "arm64": {"ami-0a240400000000002", archARM64}} {
		s.images[image.id] = image.architecture
		s.putSSMParameter(fmt.Sprintf(canonicalPath, word), image.id, false)
	}
}

// AddImage makes an AMI of that architecture, x86_64 or arm64.
func (s *Simulator) AddImage(id, architecture string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.images[id] = architecture
}

// resolveImage takes the id of an AMI, or resolve:ssm: and the parameter that holds it, a version after a colon.
func (s *Simulator) resolveImage(id string) (image, architecture string, err error) {
	if id == "" {
		return "", "", refuse("MissingParameter", "The request must contain the parameter ImageId")
	}
	if path, isPath := strings.CutPrefix(id, "resolve:ssm:"); isPath {
		name, _, _ := strings.Cut(path, ":")
		p := s.findSSM(name)
		if p == nil {
			return "", "", refuse("InvalidParameterValue", "Invalid value '%s' for ImageId: there is no such parameter.", id)
		}
		id = p.value
	}
	if !strings.HasPrefix(id, "ami-") {
		return "", "", refuse("InvalidAMIID.Malformed", "Invalid id: \"%s\" (expecting \"ami-...\")", id)
	}
	architecture = s.images[id]
	if architecture == "" {
		return "", "", refuse("InvalidAMIID.NotFound", "The image id '[%s]' does not exist", id)
	}
	return id, architecture, nil
}
