// The part of Vega and Vega-Lite that the report draws with.
// Maps, trees, forces, word clouds and regressions stay out, and so does `eval`: expressions are
// interpreted, so that the page can forbid scripts of others.
import { extend } from "vega-util";
import { transforms } from "vega-dataflow";
import * as data from "vega-transforms";
import * as layout from "vega-view-transforms";
import * as marks from "vega-encode";
import { View } from "vega-view";
import { parse } from "vega-parser";
import { expressionInterpreter } from "vega-interpreter";
import { compile } from "vega-lite";

extend(transforms, data, layout, marks);

export { View, parse, compile, expressionInterpreter };
