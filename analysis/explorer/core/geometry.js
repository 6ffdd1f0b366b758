'use strict';
// Where samples lie on the map: in two dimensions, or projected from three.

const Geometry = (() => {
  /** The rotation by yaw about the vertical axis, then by pitch about the horizontal one: rows are
   * the directions right, up and towards the viewer. The identity on the 2-D map.
   * @param {Turn} [turn] */
  function axes(turn) {
    const [yaw, pitch] = turn ?? [0, 0];
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    return [
      [cy, 0, sy],
      [sy * sp, cp, -cy * sp],
      [-sy * cp, sp, cy * cp],
    ];
  }

  /** Coordinates of all rows in one array, and how many each has.
   * @param {View} view @param {Turn} [turn] */
  const coordinates = (view, turn) =>
    turn
      ? { points: /** @type {Decoded} */ (view.map_3d), size: 3 }
      : { points: /** @type {Decoded} */ (view.map_2d), size: 2 };

  /** A function that tells where a point is seen.
   * @param {Turn} [turn] @returns {(x: number, y: number, z?: number) => Point} */
  function projector(turn) {
    const [a, b] = axes(turn);
    return (x, y, z = 0) => [a[0] * x + a[1] * y + a[2] * z, b[0] * x + b[1] * y + b[2] * z];
  }

  /** A function that tells where a row is seen.
   * @param {View} view @param {Turn} [turn] @returns {(row: number) => Point} */
  function projection(view, turn) {
    const { points, size } = coordinates(view, turn);
    const project = projector(turn);
    return (row) => {
      const at = size * row;
      return project(points[at], points[at + 1], turn ? points[at + 2] : 0);
    };
  }

  return { axes, coordinates, projector, projection };
})();
