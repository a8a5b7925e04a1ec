// What part of the world the canvas shows. Zoom is in whole steps, so that tiles are always sharp.
import { scaleX, scaleY } from "./tiles";

export class Camera {
  zx = 0;
  ox = 0;
  oy = 0;
  width = 800;
  height = 500;
  n = 1;
  lanes = 1;

  /** Lanes shrink with births until they all fit, and no further. */
  get zy(): number {
    return Math.min(this.zx, this.fitY());
  }
  get sx(): number {
    return scaleX(this.zx);
  }
  get sy(): number {
    return scaleY(this.zy);
  }

  private fitY(): number {
    let zoom = 0;
    while (scaleY(zoom) * (this.lanes + 1) > this.height - 50 && zoom < 14) zoom++;
    return zoom;
  }

  fitX(): number {
    let zoom = 0;
    while (scaleX(zoom) * (this.n + 1) > this.width - 40 && zoom < 60) zoom++;
    return zoom;
  }

  fit(): void {
    this.zx = this.fitX();
    this.clamp();
  }

  zoom(steps: number, px: number, py: number): void {
    const wx = (px + this.ox) / this.sx, wy = (py + this.oy) / this.sy;
    this.zx = Math.min(Math.max(this.zx + steps, 0), this.fitX());
    this.ox = wx * this.sx - px;
    this.oy = wy * this.sy - py;
    this.clamp();
  }

  pan(dx: number, dy: number): void {
    this.ox -= dx;
    this.oy -= dy;
    this.clamp();
  }

  clamp(): void {
    const span = this.n * this.sx, rise = this.lanes * this.sy;
    const room = this.width * 0.4, below = this.height * 0.4;
    this.ox = span <= this.width ? (span - this.width) / 2 : Math.min(Math.max(this.ox, -room), span - this.width + room);
    this.oy = rise <= this.height - 40 ? (rise - this.height + 24) / 2 : Math.min(Math.max(this.oy, -below), rise - this.height + below);
  }

  screen(i: number, y: number): [number, number] {
    return [(i + 0.5) * this.sx - this.ox, y * this.sy - this.oy];
  }

  centre(i: number, y: number): void {
    this.ox = (i + 0.5) * this.sx - this.width / 2;
    this.oy = y * this.sy - this.height / 2;
    this.clamp();
  }

  /** The node nearest to a point within `reach` pixels; -1 for none. */
  hit(px: number, py: number, y: Float32Array, reach = 14): number {
    const first = Math.max(Math.floor((px - reach + this.ox) / this.sx - 0.5), 0);
    const last = Math.min(Math.ceil((px + reach + this.ox) / this.sx - 0.5), y.length - 1);
    let [best, least] = [-1, reach * reach];
    for (let i = first; i <= last; i++) {
      const [x, v] = this.screen(i, y[i]);
      const d = (x - px) ** 2 + (v - py) ** 2;
      if (d <= least) [best, least] = [i, d];
    }
    return best;
  }
}
