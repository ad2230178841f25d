// Vega-Lite asks "vega" for four helpers that "vega-util" has; all of Vega would come with them.
export * from "vega-util";
