// What a client can ask whose types openapi-typescript has generated, as JSON on stdout: node ask_generated.js URL BASE64
import createClient from "openapi-fetch";
import type { components, paths } from "./openapi.js";

declare const process: { argv: string[] };

const [, , baseUrl, image] = process.argv;
const client = createClient<paths>({ baseUrl });

const digit = (one: components["schemas"]["Predictions"]["predictions"][number]): number | string | null =>
  "error" in one ? one.error.reason : one.digit;

const { data, error } = await client.POST("/predict", { body: { images: [image, "no picture", Array(784).fill(0)] } });
const refused = await client.POST("/predictions/{model}", {
  params: { path: { model: "other" } },
  body: { image },
});
const health = await client.GET("/healthz");
const model = await client.GET("/v2/models/{model}", { params: { path: { model: "mnist-mlp" } } });
// @ts-expect-error - a prediction has no such member
data?.predictions[0].letter;

console.log(
  JSON.stringify({
    predictions: data?.predictions.map(digit),
    error: error?.detail,
    refused: refused.error?.reason,
    health: health.data?.status,
    shape: model.data?.inputs[0].shape,
  }),
);
