package awssim

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	ec2Version   = "2016-11-15"
	ec2Namespace = "http://ec2.amazonaws.com/doc/2016-11-15/"
)

var ec2Actions = map[string]apiAction{
	"DescribeSecurityGroups":        {run: (*Simulator).describeSecurityGroups},
	"DescribeSecurityGroupRules":    {run: (*Simulator).describeRules},
	"AuthorizeSecurityGroupIngress": {run: (*Simulator).authorizeIngress, writes: true},
	"RevokeSecurityGroupIngress":    {run: (*Simulator).revokeIngress, writes: true},
	"CreateSecurityGroup":           {run: (*Simulator).createSecurityGroup, writes: true},
	"DeleteSecurityGroup":           {run: (*Simulator).deleteSecurityGroup, writes: true},
	"CreateTags":                    {run: (*Simulator).createTags, writes: true},
	"DescribeVpcs":                  {run: (*Simulator).describeVPCs},
	"DescribeSubnets":               {run: (*Simulator).describeSubnets},
	"DescribeInstanceTypes":         {run: (*Simulator).describeMachineTypes},
	"RunInstances":                  {run: (*Simulator).runMachines, writes: true},
	"DescribeInstances":             {run: (*Simulator).describeMachines},
	"DescribeInstanceStatus":        {run: (*Simulator).describeMachineStatus},
	"TerminateInstances":            {run: (*Simulator).terminateMachines, writes: true},
}

func (s *Simulator) serveEC2(r request, form url.Values) {
	name := form.Get("Action")
	result, err := s.perform(r.ctx, "ec2", name, formParameters(form), func() (any, error) { return s.tryEC2(name, form) })
	if err == nil {
		err = writeEC2Result(r.w, name, r.id, result)
	}
	if err != nil {
		writeEC2Error(r.w, r.id, asAPIError(err))
	}
}

func (s *Simulator) tryEC2(name string, form url.Values) (any, error) {
	action, known := ec2Actions[name]
	if !known {
		return nil, refuse("InvalidAction", "The action %s is not valid for this web service.", name)
	}
	if err := s.failBefore(name); err != nil {
		if e := asAPIError(err); e.code == codeThrottling {
			return nil, &apiError{status: http.StatusServiceUnavailable, code: "RequestLimitExceeded", message: "Request limit exceeded."}
		}
		return nil, err
	}
	if action.writes && strings.EqualFold(form.Get("DryRun"), "true") {
		return nil, &apiError{status: http.StatusPreconditionFailed, code: "DryRunOperation", message: "Request would have succeeded, but DryRun flag is set."}
	}
	return action.run(s, call{form: form, world: s.view(action.writes)})
}

// writeEC2Result writes result's fields directly below <XResponse>, after the request id: EC2 knows no XResult.
func writeEC2Result(w http.ResponseWriter, action, id string, result any) error {
	var fields bytes.Buffer
	if err := xml.NewEncoder(&fields).EncodeElement(result, xml.StartElement{Name: xml.Name{Local: "x"}}); err != nil {
		return fmt.Errorf("encode answer of %s: %w", action, err)
	}
	inner := bytes.TrimSuffix(bytes.TrimPrefix(fields.Bytes(), []byte("<x>")), []byte("</x>"))
	write(w, "text/xml;charset=UTF-8", http.StatusOK, fmt.Appendf(nil, "<%sResponse xmlns=%q><requestId>%s</requestId>%s</%sResponse>",
		action, ec2Namespace, id, inner, action))
	return nil
}

func writeEC2Error(w http.ResponseWriter, id string, e *apiError) {
	write(w, "text/xml;charset=UTF-8", e.status, fmt.Appendf(nil,
		"<Response><Errors><Error><Code>%s</Code><Message>%s</Message></Error></Errors><RequestID>%s</RequestID></Response>",
		e.code, escape(e.message), id))
}

func escape(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a bytes.Buffer does not fail
	return b.String()
}

// plainList reads Name.1, Name.2, …: EC2's lists of scalars.
func plainList(form url.Values, name string) []string {
	var out []string
	for i := 1; form.Has(fmt.Sprintf("%s.%d", name, i)); i++ {
		out = append(out, form.Get(fmt.Sprintf("%s.%d", name, i)))
	}
	return out
}

// ec2Filters reads Filter.1.Name, Filter.1.Value.1, … and refuses names outside known; "tag:*" allows every tag.
func ec2Filters(form url.Values, known ...string) (map[string][]string, error) {
	out := map[string][]string{}
	for i := 1; form.Has(fmt.Sprintf("Filter.%d.Name", i)); i++ {
		name := form.Get(fmt.Sprintf("Filter.%d.Name", i))
		if !slices.Contains(known, name) && !strings.HasPrefix(name, "tag:") {
			return nil, refuse("InvalidParameterValue", "The filter '%s' is invalid", name)
		}
		out[name] = append(out[name], plainList(form, fmt.Sprintf("Filter.%d.Value", i))...)
	}
	return out, nil
}

// passes says whether every filter holds: attributes by name, tag:<key> by tags.
func passes(filters map[string][]string, attributes, tags map[string]string) bool {
	for name, allowed := range filters {
		have, known := attributes[name]
		if key, isTag := strings.CutPrefix(name, "tag:"); isTag {
			have, known = tags[key]
		}
		if !known || !slices.ContainsFunc(allowed, func(pattern string) bool { return fits(pattern, have) }) {
			return false
		}
	}
	return true
}

// fits compares with a filter's value, in which * stands for any text and ? for any character.
func fits(pattern, text string) bool {
	if !strings.ContainsAny(pattern, "*?") {
		return pattern == text
	}
	expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	return regexp.MustCompile("(?s)^" + expression + "$").MatchString(text) // a quoted text always compiles
}

// ec2Page cuts one page out of all by MaxResults and NextToken; without MaxResults everything is one page.
func ec2Page[T any](form url.Values, all []T) ([]T, string, error) {
	size, from := len(all), 0
	if text := form.Get("MaxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 5 || n > 1000 {
			return nil, "", refuse("InvalidParameterValue", "Value ( %s ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.", text)
		}
		size = n
	}
	if token := form.Get("NextToken"); token != "" {
		text, err := base64.StdEncoding.DecodeString(token)
		n, numberErr := strconv.Atoi(string(text))
		if err != nil || numberErr != nil || n < 0 || n > len(all) {
			return nil, "", refuse("InvalidParameterValue", "The token '%s' is invalid", token)
		}
		from = n
	}
	if from+size >= len(all) {
		return all[from:], "", nil
	}
	return all[from : from+size], base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(from + size))), nil
}
