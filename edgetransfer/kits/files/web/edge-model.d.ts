/** A class and its probability. */
export interface Label {
  name: string;
  probability: number;
}

/** The likeliest labels, best first; not accepted where the model is too unsure. */
export interface Answer {
  labels: Label[];
  accepted: boolean;
}

/** A decoded picture: 3 bytes a pixel, row-major, upright. */
export interface Picture {
  rgb: Uint8Array;
  height: number;
  width: number;
}

/** Reads a file of the model folder. */
export type Reader = (name: string) => Promise<Response>;

/** Something that is not as it should be, in words. */
export class KitError extends Error {}

export function reader(address: string | URL): Reader;
export function linesOf(text: string): string[];
export function settingsOf(text: string): Map<string, string>;

export class EdgeModel {
  readonly labels: string[];
  readonly settings: Map<string, string>;
  readonly takesTexts: boolean;
  readonly temperature: number;
  threshold: number;
  static load(options?: { read?: Reader; engine?: "wasm" | "webgpu" }): Promise<EdgeModel>;
  static decode(source: ImageBitmapSource): Promise<Picture>;
  logits(given: Picture | number[]): Promise<Float32Array>;
  decide(logits: ArrayLike<number>, top?: number): Answer;
  classify(given: string | ImageBitmapSource, top?: number): Promise<Answer>;
  release(): Promise<void>;
}
