package launch

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"timeferry/internal/machine"
)

// placeTimeout is for a machine that is not on EC2: the metadata service is one hop away or not there.
const placeTimeout = time.Second

// Place asks EC2's metadata service where this machine stands. It is a machine.PlaceFunc: where nobody answers within a
// second, which is most machines that are not EC2's, the place is not known.
func Place(ctx context.Context) machine.Place {
	ctx, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	client := imds.New(imds.Options{Retryer: aws.NopRetryer{}})
	document, err := client.GetInstanceIdentityDocument(ctx, &imds.GetInstanceIdentityDocumentInput{})
	if err != nil {
		return machine.Place{}
	}
	return machine.Place{Region: document.Region, InstanceID: document.InstanceID, InstanceType: document.InstanceType}
}
