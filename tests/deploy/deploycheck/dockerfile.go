package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	digest "github.com/opencontainers/go-digest"
)

// dockerfileFindings converts every stage to build steps, as `docker build --check` does, and gives the linter's words.
func dockerfileFindings(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	source := llb.NewSourceMap(nil, path, "Dockerfile", text)
	source.Definition = &llb.Definition{}
	results, err := dockerfile2llb.DockerfileLint(context.Background(), text, dockerfile2llb.ConvertOpt{
		MetaResolver: noRegistry{},
		SourceMap:    source,
	})
	if err != nil {
		return nil, err
	}
	if results.Error != nil {
		return nil, errors.New(results.Error.Message)
	}
	findings := []string{}
	for _, warning := range results.Warnings {
		findings = append(findings, warning.RuleName+": "+warning.Detail)
	}
	return json.Marshal(findings)
}

// noRegistry answers for every image that is pinned by a tag with an empty configuration: no registry is asked. A mistyped
// stage counts as an image, so it is found here as well.
type noRegistry struct{}

func (noRegistry) ResolveImageConfig(
	_ context.Context, reference string, _ sourceresolver.Opt,
) (string, digest.Digest, []byte, error) {
	if strings.HasSuffix(reference, ":latest") {
		return "", "", nil, fmt.Errorf("%s is neither a stage nor an image with a tag", reference)
	}
	config := []byte(`{"architecture":"amd64","os":"linux","config":{}}`)
	return reference, digest.FromBytes(config), config, nil
}
