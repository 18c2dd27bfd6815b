package awssim

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

func formTags(form url.Values) (map[string]string, error) {
	out := map[string]string{}
	for _, tag := range formList(form, "Tags.Tag", "Key", "Value") {
		if tag["Key"] == "" || strings.HasPrefix(strings.ToLower(tag["Key"]), "aws:") {
			return nil, refuse("InvalidParameterValue", "The tag key %q is not valid", tag["Key"])
		}
		out[tag["Key"]] = tag["Value"]
	}
	return out, nil
}

// taggable finds the tags of the resource with that ARN.
func (s *Simulator) taggable(w *world, arn string) (*map[string]string, error) {
	for _, kind := range []groupKind{instanceGroups, clusterGroups} {
		if name, isGroup := strings.CutPrefix(arn, s.arn("rds", kind.arn, "")); isGroup {
			g, err := w.group(kind, name)
			if err != nil {
				return nil, err
			}
			return &g.tags, nil
		}
	}
	if id, isCluster := strings.CutPrefix(arn, s.arn("rds", "cluster", "")); isCluster {
		cl, err := w.cluster(id)
		if err != nil {
			return nil, err
		}
		return &cl.tags, nil
	}
	if id, isInstance := strings.CutPrefix(arn, s.arn("rds", "db", "")); isInstance {
		in, err := w.instance(id)
		if err != nil {
			return nil, err
		}
		return &in.tags, nil
	}
	return nil, refuse("InvalidParameterValue", "The specified resource name does not match an RDS resource in this region.")
}

func (s *Simulator) addTags(c call) (any, error) {
	tags, err := s.taggable(s.world, c.get("ResourceName"))
	if err != nil {
		return nil, err
	}
	added, err := formTags(c.form)
	if err != nil {
		return nil, err
	}
	if *tags == nil {
		*tags = map[string]string{}
	}
	maps.Copy(*tags, added)
	return nil, nil
}

type tagXML struct{ Key, Value string }

type listTagsResult struct {
	Tags []tagXML `xml:"TagList>Tag"`
}

func (s *Simulator) listTags(c call) (any, error) {
	tags, err := s.taggable(c.world, c.get("ResourceName"))
	if err != nil {
		return nil, err
	}
	var out listTagsResult
	for _, key := range slices.Sorted(maps.Keys(*tags)) {
		out.Tags = append(out.Tags, tagXML{Key: key, Value: (*tags)[key]})
	}
	return out, nil
}
