package main

import (
	"context"

	"github.com/compose-spec/compose-go/v2/cli"
)

// composeModel loads the file as `docker compose --profile '*' config` does: schema, interpolation from the process
// environment (no .env file), normalisation, and consistency of what services refer to.
func composeModel(path string) ([]byte, error) {
	options, err := cli.NewProjectOptions(
		[]string{path},
		cli.WithOsEnv,
		cli.WithProfiles([]string{"*"}),
		cli.WithNormalization(true),
		cli.WithConsistency(true),
		cli.WithResolvedPaths(true),
	)
	if err != nil {
		return nil, err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return nil, err
	}
	return project.MarshalJSON()
}
