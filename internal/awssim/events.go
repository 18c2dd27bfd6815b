package awssim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Source types of events.
const (
	sourceInstance = "db-instance"
	sourceCluster  = "db-cluster"
)

type eventXML struct {
	SourceIdentifier string
	SourceType       string
	Message          string
	EventCategories  []string `xml:"EventCategories>EventCategory"`
	Date             string
	SourceArn        string
	at               time.Time
}

// event notes what RDS tells about an instance or cluster. The messages are close to those of AWS, not checked against it.
func (s *Simulator) event(sourceType, id, category, message string) {
	kind := "db"
	if sourceType == sourceCluster {
		kind = "cluster"
	}
	now := time.Now().UTC()
	s.events = append(s.events, eventXML{SourceIdentifier: id, SourceType: sourceType, Message: message, EventCategories: []string{category},
		Date: now.Format("2006-01-02T15:04:05.000Z"), SourceArn: s.arn("rds", kind, strings.ToLower(id)), at: now})
}

type describeEventsResult struct {
	Marker string     `xml:",omitempty"`
	Events []eventXML `xml:"Events>Event"`
}

// describeEvents gives those of the last hour, or of Duration minutes, or from StartTime to EndTime.
func (s *Simulator) describeEvents(c call) (any, error) {
	if c.get("SourceIdentifier") != "" && c.get("SourceType") == "" {
		return nil, refuse("InvalidParameterCombination", "SourceType must be provided with SourceIdentifier")
	}
	minutes, end := 60, time.Now()
	if text := c.get("Duration"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, refuse("InvalidParameterValue", "Invalid value %s for Duration", text)
		}
		minutes = n
	}
	start := end.Add(-time.Duration(minutes) * time.Minute)
	for name, to := range map[string]*time.Time{"StartTime": &start, "EndTime": &end} {
		if text := c.get(name); text != "" {
			at, err := time.Parse(time.RFC3339, text)
			if err != nil {
				return nil, refuse("InvalidParameterValue", "Invalid value %s for %s", text, name)
			}
			*to = at
		}
	}
	var all []eventXML
	for _, e := range s.events {
		if matches(c.get("SourceType"), e.SourceType) && matches(c.lower("SourceIdentifier"), strings.ToLower(e.SourceIdentifier)) &&
			!e.at.Before(start) && !e.at.After(end) {
			all = append(all, e)
		}
	}
	part, marker, err := page(c.form, all)
	return describeEventsResult{Marker: marker, Events: part}, err
}

// BlueGreenConfig describes a blue/green deployment. It is only reported: nothing is switched over.
type BlueGreenConfig struct {
	Name     string
	Instance string // the blue one; its ARN is the deployment's source
	Target   string // the green one
	Status   string // default AVAILABLE
}

type blueGreenXML struct {
	BlueGreenDeploymentIdentifier string
	BlueGreenDeploymentName       string
	Source                        string
	Target                        string `xml:",omitempty"`
	Status                        string
	CreateTime                    string
}

// AddBlueGreen makes a deployment and gives its identifier.
func (s *Simulator) AddBlueGreen(config BlueGreenConfig) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := blueGreenXML{BlueGreenDeploymentIdentifier: fmt.Sprintf("bgd-%016d", len(s.blueGreen)+1), BlueGreenDeploymentName: config.Name,
		Source: s.arn("rds", "db", strings.ToLower(config.Instance)), Status: config.Status, CreateTime: time.Now().UTC().Format(time.RFC3339)}
	if config.Target != "" {
		d.Target = s.arn("rds", "db", strings.ToLower(config.Target))
	}
	if d.Status == "" {
		d.Status = "AVAILABLE"
	}
	s.blueGreen = append(s.blueGreen, d)
	return d.BlueGreenDeploymentIdentifier
}

type describeBlueGreenResult struct {
	Marker      string         `xml:",omitempty"`
	Deployments []blueGreenXML `xml:"BlueGreenDeployments>member"`
}

func (s *Simulator) describeBlueGreen(c call) (any, error) {
	filters, err := rdsFilters(c.form, "blue-green-deployment-identifier", "blue-green-deployment-name", "source", "target")
	if err != nil {
		return nil, err
	}
	id := c.get("BlueGreenDeploymentIdentifier")
	var all []blueGreenXML
	for _, d := range s.blueGreen {
		attributes := map[string]string{"blue-green-deployment-identifier": d.BlueGreenDeploymentIdentifier,
			"blue-green-deployment-name": d.BlueGreenDeploymentName, "source": d.Source, "target": d.Target}
		if matches(id, d.BlueGreenDeploymentIdentifier) && passes(filters, attributes, nil) {
			all = append(all, d)
		}
	}
	if id != "" && !slices.ContainsFunc(all, func(d blueGreenXML) bool { return d.BlueGreenDeploymentIdentifier == id }) {
		return nil, notFound("BlueGreenDeploymentNotFoundFault", "Blue/green deployment %s not found.", id)
	}
	part, marker, err := page(c.form, all)
	return describeBlueGreenResult{Marker: marker, Deployments: part}, err
}
