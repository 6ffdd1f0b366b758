'use strict';
// Reads a photograph that the reader gives to the page; it stays on the reader's computer.

const PhotoFile = (() => {
  const MOST_BYTES = 100e6;
  const MOST_PIXELS = 100e6;
  // Pixels a side that are given to the network: larger photographs are scaled down before, so that
  // they fit into memory.
  const SIDE = 2048;

  /** Decodes an image file upright, without a change of its colors.
   * @param {File} file @returns {Promise<Photo>}
   * @throws {Error} it is too large, or not an image */
  async function read(file) {
    const { name } = file;
    if (file.size > MOST_BYTES) {
      const most = megabytes(MOST_BYTES);
      throw new Error(`${name} has ${megabytes(file.size)} MB: too large. The limit is ${most} MB.`);
    }
    const bitmap = await createImageBitmap(file, {
      imageOrientation: 'from-image',
      colorSpaceConversion: 'none',
    }).catch(() => {
      throw new Error(
        `${name} is not an image that this browser can read. JPEG, PNG and WebP files work.`,
      );
    });
    const { width, height } = bitmap;
    if (width * height > MOST_PIXELS) {
      bitmap.close();
      throw new Error(
        `${name} has ${width} × ${height} pixels: too large for the browser. ` +
          'Make it smaller, for example 4,000 pixels wide, and try again.',
      );
    }
    const scale = Math.min(1, SIDE / Math.max(width, height));
    const canvas = document.createElement('canvas');
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const drawing = /** @type {CanvasRenderingContext2D} */ (
      canvas.getContext('2d', { willReadFrequently: true })
    );
    drawing.imageSmoothingQuality = 'high';
    drawing.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    bitmap.close();
    const { data } = drawing.getImageData(0, 0, canvas.width, canvas.height);
    const pixels = new Uint8Array((3 * data.length) / 4);
    for (let from = 0, to = 0; from < data.length; from += 4) {
      pixels[to++] = data[from];
      pixels[to++] = data[from + 1];
      pixels[to++] = data[from + 2];
    }
    return { name, width: canvas.width, height: canvas.height, pixels, canvas };
  }

  /** @param {number} bytes */
  const megabytes = (bytes) => Math.round(bytes / 1e6);

  return { read };
})();
