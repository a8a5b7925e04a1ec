/* 2 to the power x for 0 <= x <= 1. */
double approx(double x) {
    double u = 2.0 * x - 1.0;
    double v = u * u;
    double even = 1.0 + v * (0.1 + v * 0.1);
    double odd = 0.1 + v * (0.1 + v * 0.1);
    return even + u * odd;
}
