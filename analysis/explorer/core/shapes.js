'use strict';
// The data that a report contains (see analysis/report/view_data.py), and what pages make of it.
// Types only: this file is read by the type checker and is not part of the page.

/**
 * An array as the report stores it: little-endian base64. `missing` is the number that stands for
 * a missing value.
 * @typedef {{ dtype: string, shape: number[], base64: string, missing?: number }} Encoded
 *
 * A decoded array with the shape that it was stored in.
 * @typedef {(Float32Array | Float64Array | Int32Array | Uint32Array | Uint16Array | Uint8Array)
 *   & { shape: number[] }} Decoded
 *
 * [low, high] of a 95 % confidence interval.
 * @typedef {[number, number]} Interval
 *
 * [yaw, pitch] in radians of the 3-D map; null on the 2-D map.
 * @typedef {[number, number] | null} Turn
 *
 * [x, y], in map units or in pixels.
 * @typedef {[number, number]} Point
 *
 * A value of a column: null if it is missing.
 * @typedef {number | string | boolean | null} Value
 */

/**
 * @typedef {object} Column
 * @property {string} name
 * @property {string} label  the name as readers see it
 * @property {string} role   id, metadata, metric, cluster, issue, slice or decision
 * @property {'number' | 'category' | 'boolean' | 'text'} kind
 * @property {string} unit
 * @property {string} description
 * @property {string[]} [categories]
 * @property {any} values    by row, decoded when first read; an error before it is loaded. number:
 *   float32 or float64, NaN if missing; category: uint16 codes of categories, 65535 if missing;
 *   boolean: uint8, 255 if missing; text: Texts
 * @property {boolean} [varies]  whether it has at least two values
 * @property {Record<string, number>} [explained]  share of the variance, by metric
 * @property {() => boolean} isLoaded
 * @property {() => Promise<unknown>} load
 * @property {Record<string, any>} cache  what is derived from the values; emptied when they change
 */

/**
 * Thumbnails in sheets of `per_sheet` with `columns` a line, and large images of some rows.
 * @typedef {object} Pictures
 * @property {number} thumb_size  pixels
 * @property {number} columns
 * @property {number} per_sheet
 * @property {Record<string, string>[]} sheets  path by kind: image, truth, prediction, error
 * @property {Record<string, Details>} details  by row
 * @property {Record<string, string>} error_colors
 * @property {Record<string, { colors: string[], low: number | string, high: number | string,
 *   unit?: string }>} scales
 *
 * Paths of the large images of one row.
 * @typedef {{ image: string, truth?: string, prediction?: string, error?: string, loss?: string,
 *   classes?: Record<string, string>, saliency?: Record<string, string> }} Details
 */

/**
 * The piece `view`: one checkpoint on one split. `n` is the number of samples, `run` the directory
 * of the run, `fingerprint` that of the data set; `class_names` begin with the background. `key` is
 * the column that identifies a row.
 * @typedef {{ rows_are: 'images' | 'objects', key: string, n: number, run: string,
 *   run_name?: string, split: string, step: number,
 *   fingerprint: string, class_names: string[], pictures?: Pictures,
 *   map_2d?: Decoded, map_3d?: Decoded, map_quality?: { trustworthiness: number[] },
 *   similar?: { rows: number, nearest: Decoded, parts: string[] },
 *   unavailable?: Record<string, string>, members?: Record<string, string[]>,
 *   notes?: Record<string, string>,
 *   has_findings?: boolean }} ViewPiece
 *
 * `members` are the names of categories or super-categories by class, as in the label space.
 * `notes` say what is approximate, by stage. Similar samples are in blocks of so many rows;
 * `nearest` are ascending distances of samples to their nearest one; `parts` are what they may be
 * compared by, first `all`, the whole embedding.
 *
 * A view as the page uses it; findings are there once `loaded` is true. `failure` says why not.
 * @typedef {ViewPiece & Findings & ViewMethods & { name: string, columns: Column[],
 *   loaded?: boolean, failure?: string, rest?: Promise<View> }} View
 *
 * @typedef {object} ViewMethods
 * @property {(name: string | null) => Column | undefined} column
 * @property {(name: string) => any} values  of a column that is there
 * @property {(name: string, row: number) => Value} value
 * @property {(name: string, row: number) => string} format  the value as readers see it
 * @property {(id: Value, column?: string) => number} rowOf  the first row of an image, or with this
 *   number in a column; -1 if the view lacks it
 * @property {string} similarBy  one of `similar.parts`
 * @property {(row: number) => { rows: Int32Array, distances: Float32Array } | null} similarTo  the
 *   samples similar to one by `similarBy`, nearest first; null if there are none, or until the
 *   event `similar`
 * @property {(description: any) => Column} addColumn  adds a column, or replaces its namesake
 */

/**
 * The piece `manifest`; `default` is the name of the first view to show.
 * @typedef {{ title: string, default: string, class_colors: string[],
 *   views: { name: string, run_name: string, split: string, step: number, n: number,
 *     rows_are: 'images' | 'objects' }[],
 *   compare: { name: string, this: string, other: string, file: string }[],
 *   model: { view: string, precision: string } | null }} Manifest
 *
 * `model` is there if the report contains the network; it finds samples of that view.
 */

/**
 * RGB, row by row.
 * @typedef {{ width: number, height: number, pixels: Uint8Array }} Pixels
 *
 * A photograph that the reader has given to the page.
 * @typedef {Pixels & { name: string, canvas: HTMLCanvasElement }} Photo
 *
 * What the network says of it: the most probable class of each pixel, row by row, `size` pixels a
 * side whatever the shape of the photograph; its embedding; and how long that took.
 * @typedef {{ classes: Uint8Array, size: number, embedding: Float32Array, seconds: number }} Answer
 *
 * Samples near to a new image, nearest first; distances are Euclidean, 0 to 2.
 * @typedef {{ rows: number[], distances: number[] }} Near
 */

/**
 * The piece `findings`: what was analyzed, undefined if it was not.
 * @typedef {object} Findings
 * @property {MeanIou} [scores]
 * @property {Cluster[]} [clusters]
 * @property {Cluster[]} [density_clusters]
 * @property {Record<string, { slices: Slice[] }>} [slices]  by metric
 * @property {[string, number][][]} [slice_groups]  nested slices, each a metric and a place in its
 *   list; the first stands for the others
 * @property {{ associations: Association[], num_tests: number,
 *   significant: number }} [associations]
 * @property {GrayscaleCopy[]} [grayscale_copies]
 * @property {{ base: Record<string, { share: number, interval: Interval }>,
 *   rows: Confused[] }} [confusion]
 * @property {{ class_names: string[], num_images: number, num_objects: number, num_crowds: number,
 *   num_unseen: number, confusion: number[][] }} [objects]  rows of `confusion` are true classes
 * @property {{ num_images: number, groups: CopyMember[][],
 *   leakage: LeakedScores | null }} [duplicates]  groups over several splits first
 * @property {{ reference: string, num_reference: number, parts: DriftedPart[] }} [drift]
 * @property {{ labeled: string[], num_labeled: number, num_unlabeled: number,
 *   median_distance: number[], images: ToLabel[] }} [label_next]  to be labeled first come first
 * @property {Region[]} [label_issues]  most probable first, one for each object
 * @property {number} [label_issues_total]
 * @property {Record<string, { images: number, methods: Record<string, Judged> }>} [saliency]
 *
 * An image that has copies: `row` is null if it is not in the view, `picture` a data URI, null for
 * images after the first groups; `kinds` say what differs from the first image of the group.
 * @typedef {{ image_id: number, split: string, file_name: string, row: number | null,
 *   kinds: string[], similarity: number, picture: string | null }} CopyMember
 *
 * IoU with and without the `images` of the view that have a copy among the training images.
 * @typedef {{ images: number, scores: { name: string, all: number | null,
 *   without: number | null, difference: number | null,
 *   interval: Interval | null }[] }} LeakedScores
 *
 * An image without annotations: mean entropy in nats, and distance in embedding space to the nearest
 * image that is labeled or comes before; the score is their product.
 * @typedef {{ row: number, uncertainty: number, distance: number, score: number }} ToLabel
 *
 * How a part of the view differs from the reference; most evidence first.
 * @typedef {{ part: string, images: number, differs: boolean, median_novelty: number,
 *   columns: { column: string, images: number, median: number, median_reference: number,
 *     distance: number, p: number }[] }} DriftedPart
 *
 * Exemplars and diverse members are rows, `heat_map` is a path.
 * @typedef {{ id: number, name: string, size: number, stability: number | null,
 *   exemplars: number[], diverse: number[], heat_map: string | null,
 *   description?: { column: string, kind: string, inside: number, outside: number,
 *     effect: number, q: number }[] }} Cluster
 *
 * Conditions of a slice are [column, '<=' or '>=' or 'is', value]; none means all images.
 * @typedef {[string, string, number]} Condition
 * @typedef {{ text: string, conditions: Condition[], size: number, mean: number,
 *   mean_elsewhere: number, excess: number, interval: Interval, p: number,
 *   worst?: number[] }} Slice
 *
 * The mean of a metric over the images of a bin.
 * @typedef {{ low: number, high: number, n: number, mean: number,
 *   interval: Interval | null }} MeanBin
 *
 * @typedef {{ column: string, metric: string, n: number, rho: number, interval: Interval | null,
 *   q: number, partial_rho: number | null, partial_interval: Interval | null,
 *   partial_q: number | null, confounder: string, difference: number | null,
 *   effect: number | null, bins: MeanBin[] }} Association
 *
 * @typedef {{ metric: string, n: number, color: number, gray: number, difference: number,
 *   interval: Interval, q: number, worse: number }} GrayscaleCopy
 *
 * A share with its interval; null if there are no such pixels.
 * @typedef {{ value: number | null, interval: Interval | null }} Rate
 *
 * Rows of `confidence` and `accuracy`: without and with the temperature; null for empty bins.
 * @typedef {{ temperature: number | null, error: Rate, error_scaled: Rate | null,
 *   confidence: (number | null)[][], accuracy: (number | null)[][] }} Calibration
 *
 * Scores over all images; rows of `confusion` are true classes.
 * @typedef {{ class_names: string[], confusion: number[][],
 *   classes: Record<string, {
 *     precision: Rate, recall: Rate, f1: Rate, boundary_iou: Rate, only_band: number | null,
 *   }>,
 *   original: { iou: Record<string, number | null>,
 *     intervals: { iou: Record<string, Interval | null> },
 *     num_images_with_class: Record<string, number>,
 *     effective_images: Record<string, number> },
 *   calibration: Calibration | null }} MeanIou
 *
 * @typedef {{ category: string, called: string, label: string, images: number,
 *   effective_images: number, instances: number, share: number | null, interval: Interval,
 *   instance_share: number, wrong_share: number }} Confused
 *
 * A region with a suspicious label; `box` is [left, top, right, bottom] in shares of the image.
 * `also` are less probable issues on the same object.
 * @typedef {{ row: number, kind: string, score: number, probability: number, given: string,
 *   suggested: string, also: { kind: string, probability: number, suggested: string }[],
 *   confidence: number | null, area: number, annotation_id: number | null, box: number[],
 *   mask: string, rle: RunLengths }} Region
 *
 * A mask of the image as run lengths (pycocotools); `size` is [height, width] in pixels.
 * @typedef {{ size: number[], counts: string }} RunLengths
 *
 * What to do about a wrong label: add, remove or change an annotation; see core/corrections.js.
 * @typedef {{ action: string, category: string, annotation_id: number | null,
 *   region: RunLengths | null, file_name: string, split: string, kind: string, score: number | null }} Correction
 *
 * @typedef {Record<string, { area: { mean: number, interval: Interval | null } }>} Judged
 */

/**
 * The piece `compare/<name>`: two models on the same images. Differences are the other minus this.
 * `rows` are the rows of the common images in both views.
 * @typedef {{ this: Side, other: Side, rows: { this: Encoded, other: Encoded },
 *   num_images: number, scores: Compared[], metadata?: Association[], layers?: Agreement[],
 *   separation?: Compared[], resolution?: 'network' | 'original',
 *   slices?: SliceChange[], worse: Record<'this' | 'other', Worse>,
 *   neighbors?: { k: number, chance: number, overlap: number, overlap_interval: Interval,
 *     jaccard: number, jaccard_interval: Interval } }} Comparison
 *
 * @typedef {{ class_names: string[], step: number }} Side
 *
 * @typedef {{ text: string, conditions: Condition[], n: number, iou?: Compared,
 *   loss?: Compared }} SliceChange
 *
 * Where a model is worse than the other; rows are of this model, losses of this and the other.
 * @typedef {{ slices: Slice[], images: ChangedImage[] }} Worse
 * @typedef {{ row: number, image_id: number, file_name: string, loss: number[],
 *   iou: (number | null)[] }} ChangedImage
 *
 * A measure of both models; each measure has some of the optional properties.
 * @typedef {{ this: number, other: number, difference: number, interval: Interval,
 *   difference_interval: Interval, target: 'this' | 'other', metric: string, class_name: string,
 *   p: number, minimum_detectable: number, space: string, method: string, first: number,
 *   second: number }} Compared
 *
 * How much the representations of a layer agree: CKA, and the share of common nearest neighbors.
 * @typedef {{ layer: string, cka: number, overlap: number }} Agreement
 */

/**
 * How a column is binned. Whole numbers of a short range have a bin each.
 * @typedef {object} Binned
 * @property {Uint8Array | Uint16Array} codes  bin by row
 * @property {number} size     number of bins
 * @property {{ value: Value, label: string, count: number }[]} values  of categories and booleans:
 *   most frequent first, missing last
 * @property {number[]} edges  of numbers: size + 1; missing values have the code `size`
 * @property {number} low      least value
 * @property {number} high     greatest value
 * @property {boolean} whole   all values are whole
 * @property {boolean} open    a few values are far out: the last bin has all from its lower edge on
 *
 * How a column is colored: `colors[codes[row]]` is the color of a row. The last color is that of
 * other and missing values.
 * @typedef {object} Scale
 * @property {string[]} colors
 * @property {Uint8Array} codes
 * @property {{ value: Value, label: string, code: number }[]} [values]  of categories, most
 *   frequent first
 * @property {number} [low]   of numbers: 2nd percentile, below which the color stays the same
 * @property {number} [high]  of numbers: 98th percentile, above which it stays the same
 *
 * What can lie over a picture; path is null for the image alone, and for overlays that only
 * thumbnails have.
 * @typedef {{ id: string, label: string, path: string | null }} Layer
 */

/**
 * A column of a table of findings; numbers are right-aligned, `title` explains the head.
 * @template R
 * @typedef {{ head: string, cell: (row: R) => any, number?: boolean, title?: string }} Cells
 */

/**
 * A table of findings, with the values and confidence intervals of its rows drawn on one axis.
 * @template R
 * @typedef {object} Plotted
 * @property {Cells<R>[]} columns
 * @property {string} head  of the plots
 * @property {(row: R) => number} value
 * @property {(row: R) => Interval | null} [interval]  default: the row's own
 * @property {number | null} [reference]  a number to compare with; default: 0
 * @property {(row: R) => boolean} [faint]  unreliable, or of less interest
 * @property {(value: number) => string} [format]  of the axis
 * @property {(row: R) => string} [label]  what a click on a row does
 * @property {(row: R) => void} [act]
 */

/**
 * What is filtered by: see core/filters.js, which also describes what each kind has.
 * @typedef {{ kind: 'range' | 'set' | 'rows' | 'polygon' | 'search', column?: string, low?: number,
 *   high?: number, values?: Value[], rows?: number[], points?: Point[], turn?: Turn,
 *   label?: string, text?: string }} Filter
 *
 * A page with a tab: `build` runs once, when it is first shown, `update` then and after events.
 * It has a tab unless `shown` returns false.
 * @typedef {{ id: string, title: string, build: (container: HTMLElement) => void,
 *   update: (events: Set<string>) => void, shown?: () => boolean }} Page
 *
 * A section of the page Findings.
 * @typedef {object} Section
 * @property {string} title
 * @property {string} command  the module that computes it
 * @property {(view: View) => any} of  its data; undefined if it was not analyzed
 * @property {(view: View) => number} [count]  shown beside its title
 * @property {(view: View, redraw: () => void) => any[]} draw
 * @property {(view: View) => any[]} [extra]  shown even if it was not analyzed
 */
