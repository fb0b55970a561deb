// Read dashboards by the types that Grafana publishes, and print what these do not know, a line each.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/heatmap"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

func main() {
	known := map[string]bool{}
	for _, kind := range []variants.PanelcfgConfig{
		heatmap.VariantConfig(), stat.VariantConfig(), statetimeline.VariantConfig(), table.VariantConfig(),
		timeseries.VariantConfig(),
	} {
		cog.NewRuntime().RegisterPanelcfgVariant(kind)
		known[kind.Identifier] = true
	}
	cog.NewRuntime().RegisterDataqueryVariant(prometheus.VariantConfig())

	for _, path := range os.Args[1:] {
		raw, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		complaints := lines((&dashboard.Dashboard{}).UnmarshalJSONStrict(raw))
		var read struct{ Panels []struct{ Type string } }
		if err := json.Unmarshal(raw, &read); err != nil {
			log.Fatal(err)
		}
		for _, panel := range read.Panels {
			// Of a kind that is not registered the options would not be looked at.
			if panel.Type != "row" && !known[panel.Type] {
				complaints = append(complaints, "no kind of panel that is registered here: "+panel.Type)
			}
		}
		for _, complaint := range complaints {
			// Grafana sets what is missing to its own defaults.
			if !strings.HasSuffix(complaint, "required field is missing from input") {
				fmt.Printf("%s: %s\n", path, complaint)
			}
		}
	}
}

func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}
